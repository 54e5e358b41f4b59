"""The demo's live progress: a table of acts on a terminal, plain lines elsewhere."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from edge_agent.base.terminal import one_line


@dataclass(slots=True)
class Row:
    """One act on the screen."""

    title: str
    state: str = "waiting"
    line: str = ""
    started: float = 0.0
    took_s: float = 0.0


class ActScreen:
    """Shows which act plays, how long each took, and what it found."""

    def __init__(self, titles: Sequence[str], console: Console) -> None:
        """Prepare a screen for acts with these titles."""
        self.console = console
        self.rows = [Row(title) for title in titles]
        self.present: Row | None = None
        self._live = Live(self, console=console, refresh_per_second=5)

    def __enter__(self) -> Self:
        """Begin showing."""
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the last state on the screen."""
        if self.console.is_terminal:
            self._live.stop()

    def begin(self, place: int) -> None:
        """Show that an act begins."""
        self.present = self.rows[place]
        self.present.state = "playing"
        self.present.started = time.monotonic()
        self._plain(f"act {place + 1}/{len(self.rows)}: {self.present.title}")

    def say(self, text: str) -> None:
        """Show what is happening within the present act."""
        if self.present is not None and self.present.line != text:
            self.present.line = text
            self._plain(f"  {text}")

    def end(self, *, ok: bool, line: str) -> float:
        """Show how the present act ended; returns its length in seconds."""
        row = self.present
        if row is None:
            return 0.0
        row.state = "ok" if ok else "failed"
        row.line = line
        row.took_s = time.monotonic() - row.started
        self._plain(f"  {row.state} after {row.took_s:.0f} s: {line}")
        return row.took_s

    def _plain(self, text: str) -> None:
        if not self.console.is_terminal:
            self.console.print(
                one_line(text), highlight=False, markup=False, soft_wrap=True
            )

    def __rich__(self) -> Group:
        """Draw the table of acts."""
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(width=2)
        table.add_column(no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(ratio=1, overflow="fold")
        for row in self.rows:
            table.add_row(*_cells(row))
        return Group(table)


def _cells(row: Row) -> tuple[Spinner | Text, Text, Text, Text]:
    if row.state == "playing":
        took = time.monotonic() - row.started
        return (
            Spinner("dots", style="cyan"),
            Text(row.title, "bold"),
            Text(f"{took:.0f} s", "cyan"),
            Text(one_line(row.line), "dim"),
        )
    sign, style = {
        "ok": ("✓", "green"),
        "failed": ("✗", "red"),
        "waiting": ("·", "dim"),
    }[row.state]
    took_text = f"{row.took_s:.0f} s" if row.took_s else ""
    return (
        Text(sign, style),
        Text(row.title),
        Text(took_text, "dim"),
        Text(one_line(row.line)),
    )
