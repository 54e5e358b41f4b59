"""What the twin says that updates wait for."""

from edge_agent.errors import StoreError, UpdateError
from edge_agent.update.obstacles import AFTER_S, MAX_TEXT, Obstacles, Where
from edge_agent.wire.control import Obstacle
from tests.fakes.scripted_link import FakeClock

FULL = UpdateError("AGENT-UPDATE-021", "no room", retryable=True)
EXPIRED = UpdateError("AGENT-UPDATE-011", "metadata has expired", retryable=True)
READ_ONLY = StoreError("AGENT-STORE-001", "read-only")


class Shown:
    """Obstacles, and what was shown one after the other."""

    def __init__(self, after_s: float = 0.0) -> None:
        """Start with a clear way."""
        self.clock = FakeClock()
        self.codes: list[str] = []
        self.obstacles = Obstacles(self.clock, self._note, after_s=after_s)

    def _note(self) -> None:
        present = self.obstacles.present
        self.codes.append(present.code if present else "")


def test_the_most_telling_obstacle_is_shown() -> None:
    """A device that cannot trust its metadata does not complain of its disk first."""
    shown = Shown()

    shown.obstacles.note(Where.PHASE, FULL)
    shown.obstacles.note(Where.METADATA, EXPIRED)
    shown.obstacles.clear(Where.METADATA)
    shown.obstacles.clear(Where.PHASE)

    assert shown.codes == [
        "AGENT-UPDATE-021",
        "AGENT-UPDATE-011",
        "AGENT-UPDATE-021",
        "",
    ]


def test_only_a_change_is_told() -> None:
    """A failure that comes again and again is one report."""
    shown = Shown()

    for _ in range(3):
        shown.obstacles.note(Where.STORE, READ_ONLY)
        shown.obstacles.note(Where.PHASE, FULL)
    shown.obstacles.clear(Where.ASSIGNMENT)

    assert shown.codes == ["AGENT-STORE-001"]


def test_what_passes_soon_is_not_told() -> None:
    """An assignment often comes a moment before the metadata that it needs."""
    shown = Shown(AFTER_S)
    shown.obstacles.note(Where.ASSIGNMENT, EXPIRED)
    shown.clock.now += AFTER_S / 2
    shown.obstacles.look()
    shown.obstacles.clear(Where.ASSIGNMENT)
    assert shown.codes == []

    shown.obstacles.note(Where.PHASE, FULL)
    shown.clock.now += AFTER_S
    shown.obstacles.note(Where.PHASE, EXPIRED)
    assert shown.codes == ["AGENT-UPDATE-011"]


def test_a_text_of_any_length_fits() -> None:
    """What others say goes into a bounded field."""
    shown = Shown()
    shown.obstacles.note(Where.PHASE, UpdateError("AGENT-UPDATE-020", "x" * 5000))
    expected = Obstacle(code="AGENT-UPDATE-020", text="x" * MAX_TEXT)
    assert shown.obstacles.present == expected
