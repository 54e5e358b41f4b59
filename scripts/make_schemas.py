"""Write the JSON Schema of every message, and the table of fields in PROTOCOL.md.

Both are made from the structs in ``edge_agent/wire`` and are never edited by hand;
``tests/contract/test_schemas.py`` fails where they are out of date.
"""

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from edge_agent.wire.batch import Packed
from edge_agent.wire.block import BlockHeader, BlockRequest
from edge_agent.wire.control import (
    Ack,
    Assignment,
    Command,
    Presence,
    Reported,
    TufBundle,
)
from edge_agent.wire.enrol import (
    EnrolRefusal,
    EnrolReply,
    EnrolRequest,
    JoinFile,
    RenewRequest,
)
from edge_agent.wire.envelope import Envelope
from edge_agent.wire.manifest import Release
from edge_agent.wire.profile import ReferenceProfile
from edge_agent.wire.records import LANE_OF
from edge_agent.wire.version import PROTOCOL_VERSION

ROOT = Path(__file__).parents[1]
SCHEMAS = ROOT / "tests" / "contract" / "schemas" / f"v{PROTOCOL_VERSION}.json"
DOCUMENT = ROOT / "PROTOCOL.md"
BEGIN, END = "<!-- fields: scripts/make_schemas.py -->", "<!-- end of fields -->"
KINDS: tuple[type[msgspec.Struct], ...] = (
    Presence,
    Reported,
    Ack,
    Envelope,
    Assignment,
    Command,
    TufBundle,
    Packed,
    *LANE_OF,
    BlockRequest,
    BlockHeader,
    EnrolRequest,
    RenewRequest,
    EnrolReply,
    EnrolRefusal,
    JoinFile,
    Release,
    ReferenceProfile,
)

Schema = dict[str, Any]
_REF = "#/$defs/"


def schemas() -> Schema:
    """Return one JSON Schema (2020-12) whose ``$defs`` are the messages by name."""
    _, parts = msgspec.json.schema_components(KINDS, ref_template=_REF + "{name}")
    for part in parts.values():
        if "description" in part:
            part["description"] = inspect.cleandoc(part["description"])
    parts = _with_ends(parts)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Shoal protocol, version {PROTOCOL_VERSION}",
        "anyOf": [{"$ref": _REF + kind.__name__} for kind in KINDS],
        "$defs": parts,
    }


def _with_ends(schema: Any) -> Any:  # noqa: ANN401 - JSON
    r"""Write the end of patterns as JSON Schema's dialect does (ECMA-262).

    Python's ``$`` also matches before a last newline, ECMA's does not and has no
    ``\Z``.
    """
    if isinstance(schema, dict):
        return {
            key: re.sub(r"\\Z$", "$", value)
            if key == "pattern" and isinstance(value, str)
            else _with_ends(value)
            for key, value in schema.items()
        }
    return [_with_ends(one) for one in schema] if isinstance(schema, list) else schema


def schema_file() -> bytes:
    """Return the content of the schema file."""
    return msgspec.json.format(msgspec.json.encode(schemas()), indent=1) + b"\n"


def with_fields(text: str) -> str:
    """Return the document with a fresh table between its markers."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return "\n".join([before + BEGIN, *_table(schemas()["$defs"]), END]) + after


def main() -> int:
    """Write both."""
    SCHEMAS.parent.mkdir(parents=True, exist_ok=True)
    SCHEMAS.write_bytes(schema_file())
    DOCUMENT.write_text(with_fields(DOCUMENT.read_text("utf-8")), "utf-8")
    return 0


def _table(parts: dict[str, Schema]) -> Iterator[str]:
    yield "| message | field | is | default |"
    yield "|---|---|---|---|"
    for name, part in parts.items():
        title = f"`{name}`"
        for field, schema in part.get("properties", {}).items():
            default = "needed"
            if "default" not in schema and field not in part["required"]:
                default = "absent"
            elif field not in part["required"]:
                default = f"`{msgspec.json.encode(schema['default']).decode()}`"
            yield f"| {title} | `{field}` | {_describe(schema, parts)} | {default} |"
            title = ""


def _describe(schema: Schema, parts: dict[str, Schema]) -> str:
    """Say in a few words what a value may be."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_REF)
        part = parts[name]
        return _describe(part, parts) if "enum" in part else f"`{name}`"
    if "anyOf" in schema:
        return " or ".join(_describe(one, parts) for one in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    kind: str = schema.get("type", "anything")
    if kind == "array":
        items = _describe(schema.get("items", {}), parts)
        return f"list{_most(schema, 'maxItems')} of {items}"
    if kind == "object":
        values = _describe(schema.get("additionalProperties", {}), parts)
        keys = "string" + _most(schema.get("propertyNames", {}), "maxLength")
        return f"map{_most(schema, 'maxProperties')} of {keys} to {values}"
    return kind + _bounds(schema)


def _bounds(schema: Schema) -> str:
    if "pattern" in schema:
        return f" `{schema['pattern']}`".replace("|", r"\|")
    if "minimum" in schema:
        least = _number(schema["minimum"])
        return (
            f" {least} to {_number(schema['maximum'])}"
            if "maximum" in schema
            else (f" ≥ {least}")
        )
    if "exclusiveMinimum" in schema:
        return f" > {_number(schema['exclusiveMinimum'])}"
    form = f" in {schema['contentEncoding']}" if "contentEncoding" in schema else ""
    least = f" ≥ {schema['minLength']}" if "minLength" in schema else ""
    return form + least + _most(schema, "maxLength")


def _most(schema: Schema, key: str) -> str:
    return f" ≤ {schema[key]}" if key in schema else ""


def _number(value: float) -> str:
    """Write powers as people do."""
    for base, powers in ((2, (28, 31, 53)), (10, (10, 11))):
        for power in powers:
            if value == base**power:
                return f"{base}^{power}"
    return f"{value:g}"


if __name__ == "__main__":
    sys.exit(main())
