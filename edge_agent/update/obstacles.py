"""What keeps updates from going on, as long as it does: for the twin, not the journal.

Much that is wrong ends no activation, because it may pass: metadata of another hub,
metadata that has expired, a server that cannot be reached, a full disk. The device
goes on with what it has and tries again; until then its twin says what is in the way.
The update thread writes, any thread reads.
"""

from collections.abc import Callable
from enum import StrEnum, auto

from edge_agent.errors import AgentError
from edge_agent.wire.control import Obstacle

MAX_TEXT = 1000


class Where(StrEnum):
    """What is in the way, the most telling first."""

    ROOT = auto()
    STORE = auto()
    METADATA = auto()
    ASSIGNMENT = auto()
    PHASE = auto()


class Obstacles:
    """At most one obstacle of each kind; the most telling one is shown."""

    def __init__(self, on_change: Callable[[], None] = lambda: None) -> None:
        """Start with a clear way; ``on_change`` is told when what is shown changes."""
        self._on_change = on_change
        self._found: dict[Where, Obstacle] = {}

    @property
    def present(self) -> Obstacle | None:
        """What is in the way now."""
        found = dict(self._found)
        return next((found[where] for where in Where if where in found), None)

    def note(self, where: Where, error: AgentError) -> None:
        """Take note of a failure that is waited out."""
        self._put(where, Obstacle(code=error.code, text=error.text[:MAX_TEXT]))

    def clear(self, where: Where) -> None:
        """Take note that this is not in the way any more."""
        self._put(where, None)

    def _put(self, where: Where, obstacle: Obstacle | None) -> None:
        before = self.present
        if obstacle is None:
            self._found.pop(where, None)
        else:
            self._found[where] = obstacle
        if self.present != before:
            self._on_change()
