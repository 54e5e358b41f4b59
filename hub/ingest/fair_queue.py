"""A queue of messages that serves devices in turn, by what they have cost so far.

Start-time fair queuing (Goyal, Vin and Cheng, 1996) with costs known afterwards: next
is the device that has been served least, and of that its oldest message, so the order
within a device's streams holds. A device that was idle starts level with those being
served: it neither saves up a claim nor waits for what a busy one was given.

Bounded in messages and bytes. When it is full, the newest message of the device that
holds most of it is dropped, not that of whoever comes.
"""

import heapq
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

MAX_BYTES = 64 << 20
MESSAGE_BYTES = 1024
"""What a message takes beyond its payload, generously."""
TIDY_FROM = 1024
"""How many devices' virtual times are kept before those of idle ones are dropped."""

T = TypeVar("T")


@dataclass(slots=True)
class _Waiting(Generic[T]):
    """What waits of one device."""

    items: deque[tuple[T, int]] = field(default_factory=deque)
    size: int = 0


class FairQueue(Generic[T]):
    """Many threads may put, one takes."""

    def __init__(self, max_messages: int, max_bytes: int = MAX_BYTES) -> None:
        """Create an empty queue."""
        self._max_messages, self._max_bytes = max_messages, max_bytes
        self._ready = threading.Condition()
        self._waiting: dict[str, _Waiting[T]] = {}
        self._served: dict[str, float] = {}
        """By device: its virtual time, in seconds of allowance."""
        self._turns: list[tuple[float, str]] = []
        self._now = 0.0
        self._tidy_at = TIDY_FROM
        self._count = self._size = 0

    def __len__(self) -> int:
        """Return how many messages wait."""
        return self._count

    def put(self, device: str, item: T, size: int) -> list[T]:
        """Queue a message of ``size`` bytes; never waits.

        Returns:
            The messages that were dropped for it, which may be this one.
        """
        size += MESSAGE_BYTES
        with self._ready:
            mine = self._waiting.get(device)
            if mine is None:
                mine = self._waiting[device] = _Waiting()
                start = max(self._served.get(device, 0.0), self._now)
                self._served[device] = start
                heapq.heappush(self._turns, (start, device))
            mine.items.append((item, size))
            self._add(mine, 1, size)
            dropped = []
            while self._count > self._max_messages or self._size > self._max_bytes:
                dropped.append(self._drop())
            self._ready.notify()
        return dropped

    def take(self, timeout_s: float) -> tuple[str, T] | None:
        """Return the next message and its device, or ``None`` after ``timeout_s``."""
        with self._ready:
            if not self._count and timeout_s > 0:
                self._ready.wait_for(lambda: self._count > 0, timeout_s)
            if not self._count:
                return None
            device = self._next()
            mine = self._waiting[device]
            item, size = mine.items.popleft()
            self._add(mine, -1, -size)
            return device, item

    def charge(self, device: str, price: float) -> None:
        """Note what a device's message has cost."""
        with self._ready:
            served = max(self._served.get(device, 0.0), self._now)
            self._served[device] = served + price

    def _next(self) -> str:
        """Return the device that was served least, and keep it in turn."""
        while True:
            then, device = self._turns[0]
            mine = self._waiting[device]
            if not mine.items:
                heapq.heappop(self._turns)
                self._leave(device)
            elif then < self._served[device]:
                heapq.heapreplace(self._turns, (self._served[device], device))
            else:
                self._now = max(self._now, then)
                return device

    def _leave(self, device: str) -> None:
        """Forget an idle device, but for what it was served beyond the others."""
        del self._waiting[device]
        if len(self._served) > self._tidy_at:
            self._served = {
                name: served
                for name, served in self._served.items()
                if served > self._now or name in self._waiting
            }
            self._tidy_at = 2 * len(self._served) + TIDY_FROM

    def _drop(self) -> T:
        longest = max(self._waiting.values(), key=lambda waiting: waiting.size)
        item, size = longest.items.pop()
        self._add(longest, -1, -size)
        return item

    def _add(self, mine: _Waiting[T], count: int, size: int) -> None:
        mine.size += size
        self._size += size
        self._count += count
