"""Printing: JSON, tables on a terminal, plain columns elsewhere, ages for people.

A value fills one cell, or the rest of one line, whatever it holds (see
:mod:`edge_agent.base.terminal`).
"""

import logging
import re
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import click
import msgspec

from edge_agent.base.terminal import one_line, raw_stream

_MINUTE_S = 60
_HOUR_S = 3600
_DAY_S = 86_400

_UNITS = {"s": 1, "m": _MINUTE_S, "h": _HOUR_S, "d": _DAY_S}

_LOCKS = "hub.locks"

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON with stable fields."
)


def print_json(value: object) -> None:
    """Print a value as indented JSON."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows: a rich table on a terminal, aligned columns elsewhere."""
    texts = [[one_line(value) for value in row] for row in rows]
    if sys.stdout.isatty():
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(*columns, box=box.SIMPLE)
        for row in texts:
            table.add_row(*(Text(text) for text in row))
        Console(file=raw_stream(sys.stdout)).print(table)
        return
    lines = [[column.upper() for column in columns], *texts]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    for line in lines:
        cells = (text.ljust(width) for text, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def print_fields(fields: Sequence[tuple[str, object]]) -> None:
    """Print one thing as name and value, a line each."""
    width = max(len(name) for name, _ in fields)
    for name, value in fields:
        click.echo(f"{name.ljust(width)}  {one_line(value)}")


class _Shown(logging.Handler):
    """Shows what a record's ``text`` says on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        """Show one record."""
        click.echo(vars(record).get("text", record.getMessage()), err=True)


_SHOWN = _Shown()


def show_waiting() -> None:
    """Show what a command waits for, where nothing else shows what is logged."""
    logging.getLogger(_LOCKS).addHandler(_SHOWN)


def age_text(seconds: float) -> str:
    """Return a duration as people say it, such as ``12 s`` or ``3 h``."""
    seconds = max(0.0, seconds)
    if seconds < _MINUTE_S:
        return f"{seconds:.0f} s"
    if seconds < _HOUR_S:
        return f"{seconds / _MINUTE_S:.0f} min"
    if seconds < _DAY_S:
        return f"{seconds / _HOUR_S:.0f} h"
    return f"{seconds / _DAY_S:.0f} d"


def ago_text(at: float | None) -> str:
    """Return how long ago a wall time was (``None`` or 0: never)."""
    return f"{age_text(time.time() - at)} ago" if at else "never"


def utc_text(at: float) -> str:
    """Return a wall time as text."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M UTC}"


def read_duration(
    _context: click.Context, _parameter: click.Parameter, text: str
) -> float:
    """Read an option such as ``90s``, ``30m``, ``1h`` or ``7d`` as seconds."""
    found = re.fullmatch(r"([1-9][0-9]{0,5})([smhd])", text)
    if found is None:
        raise click.BadParameter(f"{text!r} is no duration such as 90s, 30m, 1h, 7d")
    return float(found[1]) * _UNITS[found[2]]
