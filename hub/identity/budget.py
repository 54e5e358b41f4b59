"""Budgets by address or device: what one spends is nobody else's.

A bucket of leaves a key: ``burst`` at once, ``per_s`` in the long run. The table of
keys is bounded; who has not spent for the longest time is forgotten first.
"""

import ipaddress
import threading
from dataclasses import dataclass

from edge_agent.base.clock import Clock

MOST_KEYS = 10_000
_IPV6_PREFIX = 64
"""What a provider gives to one customer: addresses below it cost nothing."""


def address_group(host: str) -> str:
    """Return whom an address belongs to: IPv4 as it is, IPv6 by its /64."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host[:64]
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address), _IPV6_PREFIX), strict=False))


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """How much of something: ``burst`` at once, ``per_s`` in the long run."""

    burst: float
    per_s: float


class Budgets:
    """One bucket a key. Thread-safe."""

    def __init__(self, clock: Clock, allowance: Allowance) -> None:
        """Begin with full buckets."""
        self._clock, self._allowance = clock, allowance
        self._lock = threading.Lock()
        self._left: dict[str, tuple[float, float]] = {}

    def has(self, key: str) -> bool:
        """Tell whether a key has at least one leave left."""
        with self._lock:
            return self._left_of(key) >= 1

    def spend(self, key: str) -> bool:
        """Take a leave of a key; return whether there was one.

        Where there was none, what was there stays as it is.
        """
        with self._lock:
            left = self._left_of(key)
            taken = left >= 1
            # In again at the end: the first has not spent for the longest time.
            self._left.pop(key, None)
            self._left[key] = (left - 1 if taken else left, self._clock.mono())
            if len(self._left) > MOST_KEYS:
                del self._left[next(iter(self._left))]
            return taken

    def _left_of(self, key: str) -> float:
        found = self._left.get(key)
        if found is None:
            return self._allowance.burst
        left, at = found
        gained = (self._clock.mono() - at) * self._allowance.per_s
        return min(self._allowance.burst, left + gained)
