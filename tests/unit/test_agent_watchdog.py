"""When a worker counts as hung, on a clock that the test moves."""

import threading

import pytest

from edge_agent.child import Death
from edge_agent.errors import WorkerError
from edge_agent.watchdog import RETRY_S, START_S, Watchdog, death_event
from tests.fakes.scripted_link import FakeClock

PERIOD_S = 5.0
SILENT = WorkerError("AGENT-WORKER-001", "no answer", retryable=True)
HUNG = WorkerError("AGENT-WORKER-013", "the model has been at one sample for 2 s")
FULL = WorkerError("AGENT-API-004", "16 connections are open already")


class Child:
    """A process on paper."""

    def __init__(self, clock: FakeClock) -> None:
        """Start process 7."""
        self.present = (7, clock.now)
        self.killed: list[tuple[int, str, float]] = []

    def kill_hung(self, pid: int, what: str, alive_at: float) -> None:
        """Take note."""
        self.killed.append((pid, what, alive_at))


class Scene:
    """A watchdog, its child, and what the child answers next."""

    def __init__(self) -> None:
        """Start now; the child answers."""
        self.clock = FakeClock()
        self.child = Child(self.clock)
        self.error: WorkerError | None = None
        self.watchdog = Watchdog(self.child, self._ask, self.clock, period_s=PERIOD_S)

    def _ask(self) -> None:
        if self.error is not None:
            raise self.error

    def step(self, error: WorkerError | None, *, after_s: float = 0.0) -> float:
        """Ask once, ``after_s`` later."""
        self.clock.now += after_s
        self.error = error
        return self.watchdog.step()


@pytest.fixture
def scene() -> Scene:
    """A watchdog that has not asked yet."""
    return Scene()


def test_a_worker_that_answers_is_left_alone(scene: Scene) -> None:
    """It is asked again a period later."""
    assert [scene.step(None, after_s=PERIOD_S) for _ in range(3)] == [PERIOD_S] * 3
    assert scene.child.killed == []


@pytest.mark.parametrize("error", [SILENT, HUNG])
def test_two_bad_answers_in_a_row_are_a_hang(scene: Scene, error: WorkerError) -> None:
    """One is asked about soon, two end the worker, which lived until it answered."""
    scene.step(None)
    answered_at = scene.clock.now
    assert scene.step(error, after_s=PERIOD_S) == RETRY_S
    assert scene.child.killed == []
    scene.step(error, after_s=RETRY_S)
    assert scene.child.killed == [(7, error.text, answered_at)]


def test_one_bad_answer_is_forgiven(scene: Scene) -> None:
    """A stall that passes ends nothing."""
    for _ in range(5):
        scene.step(None, after_s=PERIOD_S)
        scene.step(SILENT, after_s=PERIOD_S)
    assert scene.child.killed == []


def test_a_young_worker_may_load_its_models(scene: Scene) -> None:
    """Until its first answer it has longer, but not for ever."""
    started = scene.clock.now
    while scene.clock.now < started + START_S - RETRY_S:
        assert scene.step(SILENT, after_s=RETRY_S) == RETRY_S
    assert scene.child.killed == []
    scene.step(SILENT, after_s=RETRY_S)
    assert scene.child.killed == [(7, SILENT.text, started)]


def test_a_young_worker_that_says_that_it_hangs_is_not_loading(scene: Scene) -> None:
    """It has loaded its models; nothing is gained by waiting."""
    scene.step(HUNG)
    scene.step(HUNG, after_s=RETRY_S)
    assert [pid for pid, _, _ in scene.child.killed] == [7]


def test_a_new_worker_starts_with_a_clean_sheet(scene: Scene) -> None:
    """What the one before did not answer is not held against it."""
    scene.step(None)
    scene.step(SILENT)
    scene.child.present = (8, scene.clock.now)
    scene.step(SILENT)
    scene.step(SILENT)
    assert scene.child.killed == []


def test_local_clients_cannot_have_the_worker_killed(scene: Scene) -> None:
    """A worker whose connections are all taken answers so, and that is an answer."""
    assert [scene.step(FULL, after_s=PERIOD_S) for _ in range(5)] == [PERIOD_S] * 5
    assert scene.child.killed == []


def test_without_a_child_there_is_nothing_to_ask(scene: Scene) -> None:
    """Before the first start nobody is killed."""
    scene.child.present = (0, 0.0)
    assert scene.step(SILENT) == RETRY_S
    assert scene.child.killed == []


def test_watching_ends_when_told(scene: Scene) -> None:
    """The thread's body returns."""
    stop = threading.Event()
    stop.set()
    scene.watchdog.run(stop)
    assert scene.child.killed == []


def test_the_hub_hears_what_hung() -> None:
    """A death and a hang have codes of their own."""
    died = death_event(Death(status=-11), 5.0, restarts=1)
    hung = death_event(Death(status=-9, hung="the model"), 5.0, restarts=2)
    assert (died.code, hung.code) == ("AGENT-WORKER-002", "AGENT-WORKER-014")
    assert "status -11" in died.text
    assert "hung and was killed: the model" in hung.text
    assert hung.facts == {"restarts": "2"}
