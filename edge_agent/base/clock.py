"""The clock port and the system's clock."""

import time
from typing import Protocol

EARLIEST_WALL = 1_735_689_600.0
"""2025-01-01: no clock of ours that is right is before its release."""
_UNSYNCHRONISED = 0x0040
"""STA_UNSYNC of ``<sys/timex.h>``."""


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


def is_synchronised() -> bool:
    """Tell whether the kernel says that a time service keeps its clock (adjtimex)."""
    import ctypes

    class Timex(ctypes.Structure):
        """The beginning of the kernel's ``struct timex``, and room for its rest."""

        _fields_ = (
            ("modes", ctypes.c_uint),
            ("amounts", ctypes.c_long * 4),
            ("status", ctypes.c_int),
            ("rest", ctypes.c_byte * 256),
        )

    timex = Timex()
    state = ctypes.CDLL(None).adjtimex(ctypes.byref(timex))
    return state >= 0 and not timex.status & _UNSYNCHRONISED
