"""Which part of a full ring a stream may overwrite, and when it may do so again.

While the ring is young, a stream with ``k`` places keeps a sample every ``age / k`` on
the average, in place of a random one: Algorithm R (Vitter 1985) in continuous time, so
every moment is as likely to be kept. From an age of :data:`MEAN_AGE_S` on the gap
stays, and the ages of what is kept are exponentially distributed with that mean.
"""

from collections import Counter
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from edge_agent.base.randomness import Randomness

MEAN_AGE_S = 7200.0


class Reservoir:
    """Units (a slot, or a stretch of slots) and the stream that owns each."""

    def __init__(self, units: int, owners: Mapping[int, int], rng: Randomness) -> None:
        """Begin with the owners, by unit, of what is kept already."""
        self._units = units
        self._owners = dict(owners)
        self._free = [unit for unit in reversed(range(units)) if unit not in owners]
        self._rng = rng

    @property
    def has_room(self) -> bool:
        """Whether a unit was never taken."""
        return bool(self._free)

    def take(self, stream: int, busy: AbstractSet[int], live: AbstractSet[int]) -> int:
        """Return the unit that a stream may overwrite, its own from now on; -1: none.

        A free one; else one of a stream that is silent; else one of those that own
        most, its own where it is among them.

        Args:
            stream: Key of the stream.
            busy: Units that are being written.
            live: Streams that were heard of in the last hours.
        """
        unit = self._free.pop() if self._free else self._victim(stream, busy, live)
        if unit >= 0:
            self._owners[unit] = stream
        return unit

    def gap_s(self, age_s: float, live: AbstractSet[int]) -> float:
        """Return a random time to the next unit of a live stream.

        Args:
            age_s: For how long the ring has been recorded.
            live: Streams among which the units are shared.
        """
        share = self._units / max(len(live), 1)
        mean_s = min(age_s, MEAN_AGE_S) / max(share, 1.0)
        return self._rng.expovariate(1 / mean_s) if mean_s > 0 else 0.0

    def streams(self) -> set[int]:
        """Return the streams that own a unit."""
        return set(self._owners.values())

    def _victim(
        self, stream: int, busy: AbstractSet[int], live: AbstractSet[int]
    ) -> int:
        owned = {unit: own for unit, own in self._owners.items() if unit not in busy}
        if not owned:
            return -1
        from_whom = set(owned.values()) - live
        if not from_whom:
            counts = Counter(owned.values())
            most = max(counts.values())
            from_whom = {own for own, count in counts.items() if count == most}
            from_whom = from_whom & {stream} or from_whom
        return self._rng.choice([u for u, own in owned.items() if own in from_whom])
