"""Reading configuration files: TOML into a struct, unknown keys named with a cure.

Precedence: defaults, then the file, then environment variables, then flags; the
caller applies flags.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import msgspec

from edge_agent.base.exit_codes import ExitCode, ShoalError

_T = TypeVar("_T", bound=msgspec.Struct)
_UNKNOWN = re.compile(r"unknown field `([^`]+)`(?: - at `\$\.?([^`]*)`)?")


class SettingsError(ShoalError):
    """A configuration that cannot be used."""

    exit_code = ExitCode.USAGE


def read_settings(
    path: Path, kind: type[_T], *, prefix: str, env: Mapping[str, str] = os.environ
) -> _T:
    """Read a TOML file into ``kind``, then apply environment variables.

    ``PREFIX_SECTION__KEY=value`` sets ``key`` of ``[section]``; the value is read as
    TOML where that works (numbers, booleans, lists) and as text elsewhere.

    Raises:
        SettingsError: The file cannot be read, is not TOML, or does not fit ``kind``;
            a variable names a key below one that is no section.
    """
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise SettingsError(
            "SHOAL-CONFIG-001",
            f"there is no configuration file {path}",
            cure="name one with --config; configs/ holds examples",
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError("SHOAL-CONFIG-002", f"{path}: {error}") from error
    _apply_env(table, prefix, env)
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        raise _explain(path, kind, str(error)) from error


def _apply_env(table: dict[str, Any], prefix: str, env: Mapping[str, str]) -> None:
    for name, text in env.items():
        if not name.startswith(prefix + "_"):
            continue
        *sections, key = name[len(prefix) + 1 :].lower().split("__")
        place = table
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise SettingsError(
                    "SHOAL-CONFIG-005",
                    f"{name} in the environment sets a key of {section!r}, which is"
                    " no section",
                    cure=f"unset {name}, or write {prefix}_SECTION__KEY",
                )
        try:
            place[key] = tomllib.loads(f"value = {text}")["value"]
        except (ValueError, RecursionError):
            place[key] = text


def _explain(path: Path, kind: type[msgspec.Struct], text: str) -> SettingsError:
    import difflib

    match = _UNKNOWN.search(text)
    if match is None:
        return SettingsError("SHOAL-CONFIG-004", f"{path}: {text}")
    key, section = match[1], match[2] or ""
    known = sorted(_fields(kind, section))
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    where = f"[{section}] " if section else ""
    return SettingsError(
        "SHOAL-CONFIG-003",
        f"{path}: unknown key {where}{key!r}",
        cure=(f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"),
    )


def _fields(kind: type[msgspec.Struct], section: str) -> set[str]:
    """Return the keys of a section, found by following the type hints.

    Of a section that may be one of several structs: the keys of all of them.
    """
    kinds = [kind]
    for part in filter(None, section.split(".")):
        key = part.partition("[")[0]
        hints = [get_type_hints(kind).get(key) for kind in kinds]
        kinds = [struct for hint in hints for struct in _structs(hint)]
    return {name for kind in kinds for name in kind.__struct_encode_fields__}


def _structs(hint: object) -> list[type[msgspec.Struct]]:
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return [hint]
    return [struct for part in get_args(hint) for struct in _structs(part)]
