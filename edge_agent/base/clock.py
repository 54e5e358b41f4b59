"""The clock port and the system's clock."""

import time
from typing import Protocol

EARLIEST_WALL = 1_735_689_600.0
"""2025-01-01: no clock of ours that is right is before its release."""


class Clock(Protocol):
    """Wall time for records, monotonic time for durations and deadlines."""

    def wall(self) -> float:
        """Return seconds since 1970-01-01 UTC."""
        ...

    def mono(self) -> float:
        """Return seconds of a clock that never jumps."""
        ...


class SystemClock:
    """The machine's clocks."""

    def wall(self) -> float:
        """Return seconds since 1970-01-01 UTC."""
        return time.time()

    def mono(self) -> float:
        """Return seconds of a clock that never jumps."""
        return time.monotonic()
