"""What time it is, as far as the expiry of metadata goes.

The system's clock may be wrong in both directions. Below the newest time that the hub
signed, or below the time before which no agent was built, it is certainly wrong; more
than :data:`TOO_FAR_S` above what was signed, and not set by a time service, it is taken
for wrong too, or a clock in 2038 would refuse everything for ever. Then that signed
time counts, and what has passed since it was heard of. A device that never heard of any
believes a clock that can be right. Expiry gates installing only: a committed model runs
at any time.
"""

from collections.abc import Callable

from edge_agent.base.clock import EARLIEST_WALL, Clock

TOO_FAR_S = 400 * 86_400.0
SKEW_S = 300.0
"""So far behind the hub's a clock may be that is right: clocks differ a little."""


class TrustedTime:
    """Judges the system's clock by what the hub signed; one owner thread."""

    def __init__(
        self, clock: Clock, floor_at: float, is_synchronised: Callable[[], bool]
    ) -> None:
        """Begin with the newest signed time that was kept (0: none).

        ``is_synchronised`` tells whether a time service set the system's clock.
        """
        self._clock = clock
        self._signed_at = floor_at
        self._since = clock.mono()
        self._is_synchronised = is_synchronised

    @property
    def is_trusted(self) -> bool:
        """Whether the system's clock can be right."""
        wall = self._clock.wall()
        if wall < max(self._signed_at, EARLIEST_WALL) - SKEW_S:
            return False
        if not self._signed_at or wall <= self._steady() + TOO_FAR_S:
            return True
        return self._is_synchronised()

    @property
    def ahead_s(self) -> float:
        """How far the hub's signed time is ahead of a clock that can be right (0)."""
        wall = self._clock.wall()
        if wall < EARLIEST_WALL or wall >= self._signed_at - SKEW_S:
            return 0.0
        return self._signed_at - wall

    def now(self) -> float:
        """Return the time that expiry is judged at, seconds since 1970."""
        if self.is_trusted:
            return max(self._clock.wall(), self._signed_at)
        return self._steady()

    def note(self, signed_at: float) -> bool:
        """Take note of a time that the hub signed; tell whether it is the newest."""
        if signed_at <= self._signed_at:
            return False
        self._signed_at, self._since = signed_at, self._clock.mono()
        return True

    def forget(self) -> None:
        """Know no signed time: who signed it is no longer believed."""
        self._signed_at, self._since = 0.0, self._clock.mono()

    def _steady(self) -> float:
        floor_at = max(self._signed_at, EARLIEST_WALL)
        return floor_at + self._clock.mono() - self._since
