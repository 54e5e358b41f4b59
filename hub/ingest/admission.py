"""Whose messages are taken at all: the budgets, shared by two threads.

The network thread asks before it queues anything, the writer charges what a message
has cost. What was refused is counted by device until somebody stores it.
"""

import threading
from collections import Counter

from edge_agent.base.clock import Clock
from edge_agent.wire import topics
from hub.config import IngestConfig
from hub.ingest.budget import MAX_DEVICES, Budgets, Cost

NOBODY = ""
"""Everything that is on no device's topic, together."""


def device_of(topic: str) -> str:
    """Return the device whose budget a message on ``topic`` is charged to."""
    address = topics.parse(topic)
    return NOBODY if address is None else address.device


class Admission:
    """The budgets of all devices; thread-safe."""

    def __init__(self, config: IngestConfig, clock: Clock) -> None:
        """Begin with full budgets."""
        self._budgets, self._clock = Budgets(config), clock
        self._lock = threading.Lock()
        self._arrived: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()

    def admit(self, device: str, size: int) -> bool:
        """Tell whether a message of ``size`` bytes may be queued; count a refusal."""
        now = self._clock.mono()
        with self._lock:
            self._count(self._arrived, device)
            allowed = self._budgets.allows(device, now)
            self._budgets.charge(device, self._budgets.price(Cost(size=size)), now)
            if not allowed:
                self._count(self._refused, device)
            return allowed

    def still_admits(self, device: str) -> bool:
        """Tell whether a message that waited is still to be read; count a refusal."""
        now = self._clock.mono()
        with self._lock:
            allowed = self._budgets.allows(device, now)
            if not allowed:
                self._count(self._refused, device)
            return allowed

    def charge(self, device: str, cost: Cost) -> float:
        """Charge a message; return its price in seconds of allowance."""
        now = self._clock.mono()
        with self._lock:
            price = self._budgets.price(cost)
            self._budgets.charge(device, price, now)
        return price

    def take_counts(self) -> tuple[Counter[str], Counter[str]]:
        """Return how many messages of each device came and how many were refused.

        Both since the last call.
        """
        with self._lock:
            taken = self._arrived, self._refused
            self._arrived, self._refused = Counter(), Counter()
        return taken

    def _count(self, counter: Counter[str], device: str) -> None:
        if device in counter or len(counter) < MAX_DEVICES:
            counter[device] += 1
