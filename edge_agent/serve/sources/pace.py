"""When the next row or sample of a replayed sensor is due."""

from edge_agent.base.clock import Clock

MAX_LAG_S = 1.0


class Pace:
    """Keeps a rate. After a delay it goes on from now: a sensor does not catch up."""

    def __init__(self, clock: Clock) -> None:
        """Begin with the first call, however long after this."""
        self._clock = clock
        self._due = float("-inf")

    def wait_s(self, period_s: float) -> float:
        """Return how long to wait for the next one, ``period_s`` after the last."""
        now = self._clock.mono()
        self._due += period_s
        if self._due < now - MAX_LAG_S or self._due > now + period_s:
            self._due = now
        return max(self._due - now, 0.0)
