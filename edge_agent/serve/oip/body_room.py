"""Memory for a large body, kept from one request to the next.

A block of this size comes fresh from the kernel every time, page by page: 140 faults,
0.25 ms for 570 kB, three times what the bytes themselves take over loopback. So one
block is kept for the process, and handed out again when nobody holds it: no tensor that
is a view of it, no thread that hangs over it. Called by the readers of connections, on
many threads.
"""

import sys
import threading

KEPT_BYTES = 1 << 20
"""A larger body gets memory of its own, and leaves none behind."""
_OURS = 2
"""References to a free block: the attribute, and the argument of the count."""


class BodyRoom:
    """Gives out memory for bodies."""

    def __init__(self) -> None:
        """Keep nothing yet."""
        self._lock = threading.Lock()
        self._kept = bytearray()

    def take(self, size: int) -> bytearray:
        """Return ``size`` bytes that nobody else has; what they hold is not defined."""
        if size > KEPT_BYTES:
            return bytearray(size)
        with self._lock:
            # Views count as well: each holds the block.
            if sys.getrefcount(self._kept) > _OURS:
                self._kept = bytearray(size)
            room = self._kept
            if len(room) < size:
                room += bytes(size - len(room))
            del room[size:]
            return room


BODIES = BodyRoom()
"""The one of this process."""
