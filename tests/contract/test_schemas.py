"""The published schemas and the table of fields are those of the code."""

import importlib.util
from pathlib import Path
from types import ModuleType

import msgspec

from edge_agent.wire import control, envelope
from edge_agent.wire.records import LANE_OF
from edge_agent.wire.types import Message

ROOT = Path(__file__).parents[2]
CURE = "run: python scripts/make_schemas.py"


def load_maker() -> ModuleType:
    """Load the script that writes them."""
    spec = importlib.util.spec_from_file_location(
        "make_schemas", ROOT / "scripts" / "make_schemas.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_schema_file_is_up_to_date() -> None:
    """A changed message is a changed schema, seen in review."""
    maker = load_maker()

    assert maker.SCHEMAS.read_bytes() == maker.schema_file(), CURE


def test_the_table_of_fields_is_up_to_date() -> None:
    """Who writes a device from PROTOCOL.md alone reads today's bounds."""
    maker = load_maker()
    text = maker.DOCUMENT.read_text("utf-8")

    assert (text.count(maker.BEGIN), text.count(maker.END)) == (1, 1)
    assert text == maker.with_fields(text), CURE


def test_every_message_and_record_has_a_schema() -> None:
    """A new message cannot be forgotten."""
    defined = load_maker().schemas()["$defs"]
    messages = {
        kind.__name__
        for module in (control, envelope)
        for kind in vars(module).values()
        if isinstance(kind, type)
        and issubclass(kind, Message)
        and kind.__module__ == module.__name__
    }

    assert messages | {kind.__name__ for kind in LANE_OF} <= defined.keys()


def test_a_vector_has_the_fields_that_its_schema_demands() -> None:
    """Schemas and golden vectors speak of the same documents."""
    defined = load_maker().schemas()["$defs"]
    for path in sorted((ROOT / "tests/contract/vectors/v1").glob("*.json")):
        vector = msgspec.json.decode(path.read_bytes(), type=dict[str, object])
        schema = defined[path.name.split(".")[0]]

        assert set(schema["required"]) <= vector.keys(), path.name
        assert vector.keys() <= schema["properties"].keys(), path.name
