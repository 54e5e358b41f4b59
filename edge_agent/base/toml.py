"""Writing TOML, which the standard library only reads. Pure.

What :func:`dump` writes reads back as the same tables; comments are not kept.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPED = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}

Table = Mapping[str, Any]


def dump(table: Table) -> str:
    """Return a table as TOML: values first, then sections, then lists of tables.

    Raises:
        TypeError: It holds what TOML has no form for.
    """
    return "\n".join(_section((), table)).strip("\n") + "\n"


def _section(path: tuple[str, ...], table: Table) -> Iterator[str]:
    later: list[tuple[str, Any]] = []
    for key, value in table.items():
        if isinstance(value, Mapping) or _is_tables(value):
            later.append((key, value))
        else:
            yield f"{_key(key)} = {_value(value)}"
    for key, value in later:
        inner = (*path, key)
        name = ".".join(map(_key, inner))
        if isinstance(value, Mapping):
            yield from ("", f"[{name}]")
            yield from _section(inner, value)
            continue
        for one in value:
            yield from ("", f"[[{name}]]")
            # Inline below: a section of its own would belong to the last table only.
            yield from (f"{_key(k)} = {_value(v)}" for k, v in one.items())


def _is_tables(value: object) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(one, Mapping) for one in value)
    )


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _text(key)


def _value(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case str():
            return _text(value)
        case datetime() | date() | time():
            return value.isoformat()
        case list() | Mapping():
            return _inline(value)
    raise TypeError(f"TOML has no form for {type(value).__name__}")


def _inline(value: list[Any] | Mapping[str, Any]) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    pairs = ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items())
    return f"{{ {pairs} }}" if pairs else "{}"


def _text(text: str) -> str:
    return '"' + "".join(map(_character, text)) + '"'


def _character(one: str) -> str:
    if one in _ESCAPED:
        return _ESCAPED[one]
    return one if one.isprintable() else f"\\U{ord(one):08x}"
