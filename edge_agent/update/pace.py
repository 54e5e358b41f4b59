"""Whether a download goes on at a pace worth waiting for.

A server that sends a byte now and then keeps every timeout quiet and would hold the
update thread for ever (TUF's slow retrieval attack). Pure; called by
:mod:`edge_agent.update.download`.
"""

WINDOW_S = 30.0
WINDOW_BYTES = 3_000
"""The least that has to come in each window: 100 bytes a second."""
TURN_S = 600.0
"""After so long a download makes a pause, so that the deadline of its phase is seen."""


class Pace:
    """Watches one answer of a server."""

    def __init__(self, now: float) -> None:
        """Begin at ``now``, steady seconds."""
        self._began = self._window_began = now
        self._came = 0

    def is_too_slow(self, came: int, now: float) -> bool:
        """Take note of bytes; tell whether a window ended with too few of them."""
        self._came += came
        if now - self._window_began < WINDOW_S:
            return False
        too_slow = self._came < WINDOW_BYTES
        self._window_began, self._came = now, 0
        return too_slow

    def is_turn_over(self, now: float) -> bool:
        """Tell whether it is time for a pause."""
        return now - self._began > TURN_S
