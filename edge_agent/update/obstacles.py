"""What keeps updates from going on, as long as it does: for the twin, not the journal.

Much that is wrong ends no activation, because it may pass: metadata of another hub,
metadata that has expired, a server that cannot be reached, a full disk. The device
goes on with what it has and tries again; until then its twin says what is in the way,
once that has lasted for more than a moment. The update thread writes and looks, any
thread reads.
"""

from collections.abc import Callable
from enum import StrEnum, auto

from edge_agent.base.clock import Clock
from edge_agent.errors import AgentError
from edge_agent.wire.control import Obstacle

MAX_TEXT = 1000
AFTER_S = 3.0
"""A failure that has passed by then was none worth telling."""


class Where(StrEnum):
    """What is in the way, the most telling first."""

    ROOT = auto()
    STORE = auto()
    METADATA = auto()
    ASSIGNMENT = auto()
    PHASE = auto()


class Obstacles:
    """At most one obstacle of each kind; the most telling one is shown."""

    def __init__(
        self,
        clock: Clock,
        on_change: Callable[[], None],
        *,
        after_s: float = AFTER_S,
    ) -> None:
        """Start with a clear way; ``on_change`` is told when what is shown changes."""
        self._clock = clock
        self._on_change = on_change
        self._after_s = after_s
        self._found: dict[Where, tuple[float, Obstacle]] = {}
        self.present: Obstacle | None = None
        """What is shown."""

    def note(self, where: Where, error: AgentError) -> None:
        """Take note of a failure that is waited out; it lasts until :meth:`clear`."""
        obstacle = Obstacle(code=error.code, text=error.text[:MAX_TEXT])
        since, _ = self._found.get(where, (self._clock.mono(), obstacle))
        self._found[where] = (since, obstacle)
        self.look()

    def clear(self, where: Where) -> None:
        """Take note that this is not in the way any more."""
        self._found.pop(where, None)
        self.look()

    def look(self) -> None:
        """Show what has lasted long enough; called now and then."""
        before = self._clock.mono() - self._after_s
        lasting = (
            obstacle
            for where in Where
            for since, obstacle in (self._found.get(where, (float("inf"), None)),)
            if since <= before
        )
        shown = next(lasting, None)
        if shown != self.present:
            self.present = shown
            self._on_change()
