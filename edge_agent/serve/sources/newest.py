"""A bounded queue that keeps the newest: what is between a live stream and the model.

The stream's own thread puts, the source's thread takes. When the model is slower than
the stream, the oldest goes first and is counted; the number that each item bears tells
the taker that something is missing before it.
"""

import threading
from collections import deque
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Newest(Generic[_T]):
    """At most ``depth`` items."""

    def __init__(self, depth: int) -> None:
        """Start empty."""
        self._items: deque[tuple[int, _T]] = deque()
        self._depth = depth
        self._came = threading.Condition()
        self._number = 0
        self._dropped = 0

    def put(self, item: _T) -> None:
        """Add an item; the oldest goes where there are too many."""
        with self._came:
            self._number += 1
            self._items.append((self._number, item))
            if len(self._items) > self._depth:
                self._items.popleft()
                self._dropped += 1
            self._came.notify()

    def take(self, timeout_s: float) -> tuple[int, _T] | None:
        """Return the oldest item that is left and its number, or none in time.

        Numbers rise by one; a step of more means that items were dropped.
        """
        with self._came:
            if not self._items:
                self._came.wait(timeout_s)
            return self._items.popleft() if self._items else None

    def dropped(self) -> int:
        """Return how many were dropped since this was last asked."""
        with self._came:
            count, self._dropped = self._dropped, 0
            return count
