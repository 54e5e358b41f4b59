"""How far a long run is, as one line of text that writes itself over.

Nothing is shown where the stream is no terminal: a log wants no bar. The clock is a
port; called by the batch loop.
"""

from typing import TextIO

from edge_agent.base.clock import Clock

WIDTH = 24
REDRAW_S = 0.2
_PLAUSIBLE_S = 100 * 3600


class Meter:
    """A progress bar."""

    def __init__(self, stream: TextIO, clock: Clock) -> None:
        """Show on ``stream``, if it is a terminal."""
        self._stream = stream
        self._shows = stream.isatty()
        self._clock = clock
        self._started = clock.mono()
        self._drawn = float("-inf")
        self._share = 0.0
        self._length = 0

    def read(self, done: int, total: int) -> None:
        """Take note of how much of the input was read."""
        self._share = done / total if total else 1.0

    def made(self, rows: int) -> None:
        """Draw the line again, if it is time."""
        now = self._clock.mono()
        if self._shows and now - self._drawn >= REDRAW_S:
            self._drawn = now
            self._draw(self._line(rows, now - self._started))

    def finish(self) -> None:
        """Remove the line."""
        if self._length:
            self._draw("")
            self._stream.write("\r")
            self._stream.flush()

    def _line(self, rows: int, passed_s: float) -> str:
        full = round(self._share * WIDTH)
        bar = "#" * full + "." * (WIDTH - full)
        rate = rows / passed_s if passed_s > 0 else 0.0
        left = ""
        if self._share > 0:
            left_s = passed_s * (1 - self._share) / self._share
            left = f", {_time(left_s)} left" if left_s < _PLAUSIBLE_S else ""
        return f"[{bar}] {self._share:4.0%} {rows:,} samples, {rate:,.0f}/s{left}"

    def _draw(self, line: str) -> None:
        self._stream.write("\r" + line.ljust(self._length))
        self._stream.flush()
        self._length = len(line)


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}"
