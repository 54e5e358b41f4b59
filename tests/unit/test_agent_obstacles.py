"""What the twin says that updates wait for."""

from edge_agent.errors import StoreError, UpdateError
from edge_agent.update.obstacles import MAX_TEXT, Obstacles, Where
from edge_agent.wire.control import Obstacle

FULL = UpdateError("AGENT-UPDATE-021", "no room", retryable=True)
EXPIRED = UpdateError("AGENT-UPDATE-011", "metadata has expired", retryable=True)


def test_the_most_telling_obstacle_is_shown() -> None:
    """A device that cannot trust its metadata does not complain of its disk first."""
    told: list[str] = []
    obstacles = Obstacles(lambda: told.append(_code(obstacles)))

    obstacles.note(Where.PHASE, FULL)
    obstacles.note(Where.METADATA, EXPIRED)
    obstacles.clear(Where.METADATA)
    obstacles.clear(Where.PHASE)

    assert told == ["AGENT-UPDATE-021", "AGENT-UPDATE-011", "AGENT-UPDATE-021", ""]
    assert obstacles.present is None


def test_only_a_change_is_told() -> None:
    """A failure that comes again and again is one report."""
    told: list[str] = []
    obstacles = Obstacles(lambda: told.append(_code(obstacles)))

    for _ in range(3):
        obstacles.note(Where.STORE, StoreError("AGENT-STORE-001", "read-only"))
        obstacles.note(Where.PHASE, FULL)
    obstacles.clear(Where.ASSIGNMENT)

    assert told == ["AGENT-STORE-001"]


def test_a_text_of_any_length_fits() -> None:
    """What others say goes into a bounded field."""
    obstacles = Obstacles()
    obstacles.note(Where.PHASE, UpdateError("AGENT-UPDATE-020", "x" * 5000))
    assert obstacles.present == Obstacle(code="AGENT-UPDATE-020", text="x" * MAX_TEXT)


def _code(obstacles: Obstacles) -> str:
    return obstacles.present.code if obstacles.present else ""
