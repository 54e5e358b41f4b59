"""The queue of two classes before a model, its deadlines, and the watchdog."""

import threading
import time
from collections.abc import Iterator

import pytest

from edge_agent.errors import ModelError, WorkerError
from edge_agent.pipeline.owner import Owner
from edge_agent.pipeline.waiting import (
    QUEUE_DEPTH,
    OwnerClosedError,
    ShedError,
    Urgency,
    Waiting,
)
from tests.fakes.held_model import WAIT_S, Held, sample_of, value_of


class Asker(threading.Thread):
    """One request in a thread of its own."""

    def __init__(self, owner: Owner, value: float, urgency: Urgency) -> None:
        """Ask at once, and wait until the request is in the queue."""
        super().__init__()
        self._ask = (owner, value, urgency)
        self.label = ""
        self.error: Exception | None = None
        before = _waiting(owner)
        self.start()
        deadline = time.monotonic() + WAIT_S
        while _waiting(owner) == before and self.is_alive():
            assert time.monotonic() < deadline

    def run(self) -> None:
        """Ask."""
        owner, value, urgency = self._ask
        try:
            made = owner.predict(sample_of(value), timeout_s=WAIT_S, urgency=urgency)
            self.label = made.label
        except WorkerError as error:
            self.error = error


def _waiting(owner: Owner) -> list[float]:
    waiting = owner._waiting._jobs.values()
    return [value_of(job.sample) for jobs in waiting for job in list(jobs)]


@pytest.fixture
def held() -> Held:
    """A model that is held."""
    return Held()


@pytest.fixture
def owner(held: Held) -> Iterator[Owner]:
    """Its owner, at sample 0 already, with room for three more."""
    made = Owner(held, depth=3)
    thread = threading.Thread(target=made.run)
    thread.start()
    first = threading.Thread(
        target=lambda: made.predict(sample_of(0), timeout_s=2 * WAIT_S)
    )
    first.start()
    assert held.arrived.wait(WAIT_S)
    yield made
    held.go_on.set()
    made.close()
    for each in (first, thread):
        each.join(WAIT_S)
        assert not each.is_alive()
    assert held.closed


def test_live_requests_go_first(owner: Owner, held: Held) -> None:
    """What came earlier as background work waits for what is live."""
    kinds = (Urgency.BACKGROUND, Urgency.LIVE, Urgency.LIVE)
    askers = [Asker(owner, n, kind) for n, kind in enumerate(kinds, start=1)]
    held.go_on.set()
    for asker in askers:
        asker.join(WAIT_S)
    assert held.order == [0, 2, 3, 1]
    assert [asker.label for asker in askers] == ["1", "2", "3"]


def test_a_live_request_takes_the_place_of_the_oldest_background_one(
    owner: Owner, held: Held
) -> None:
    """In a full queue background work is shed, oldest first, and told so."""
    shed, kept = (Asker(owner, n, Urgency.BACKGROUND) for n in (1, 2))
    first, second = (Asker(owner, n, Urgency.LIVE) for n in (3, 4))
    shed.join(WAIT_S)
    assert isinstance(shed.error, ShedError)
    assert shed.error.code == "AGENT-WORKER-012"
    held.go_on.set()
    for asker in (kept, first, second):
        asker.join(WAIT_S)
    assert held.order == [0, 3, 4, 2]


def test_a_full_queue_refuses(owner: Owner, held: Held) -> None:
    """Background work is refused when full, a live request only when all are live."""
    askers = [Asker(owner, n, Urgency.LIVE) for n in (1, 2, 3)]
    with pytest.raises(ShedError):
        owner.predict(sample_of(4), timeout_s=WAIT_S, urgency=Urgency.BACKGROUND)
    with pytest.raises(WorkerError) as caught:
        owner.predict(sample_of(5), timeout_s=WAIT_S)
    assert caught.value.code == "AGENT-WORKER-004"
    assert caught.value.retryable
    held.go_on.set()
    for asker in askers:
        asker.join(WAIT_S)
    assert held.order == [0, 1, 2, 3]


def test_sixty_four_requests_wait_and_no_more() -> None:
    """What is documented; the queue of a slow model does not grow for ever."""
    waiting = Waiting(QUEUE_DEPTH)
    for n in range(64):
        waiting.put(sample_of(n), Urgency.LIVE)
    with pytest.raises(WorkerError, match="64 requests"):
        waiting.put(sample_of(64), Urgency.LIVE)
    assert waiting.live == 64


def test_what_is_given_up_leaves_the_queue(owner: Owner, held: Held) -> None:
    """A request beyond its deadline takes nobody's place and is not inferred."""
    with pytest.raises(WorkerError) as caught:
        owner.predict(sample_of(1), timeout_s=0.5)
    assert caught.value.code == "AGENT-WORKER-005"
    assert _waiting(owner) == []
    held.go_on.set()
    assert owner.predict(sample_of(2), timeout_s=WAIT_S).label == "2"
    assert held.order == [0, 2]


def test_a_stuck_model_costs_the_next_request_nothing(owner: Owner) -> None:
    """Only the first request waits for its deadline; the next are answered at once."""
    with pytest.raises(WorkerError):
        owner.predict(sample_of(1), timeout_s=1.5)
    asked_at = time.monotonic()
    with pytest.raises(WorkerError) as caught:
        owner.predict(sample_of(2), timeout_s=1.4)
    assert time.monotonic() - asked_at < 1.0
    assert caught.value.code == "AGENT-WORKER-005"
    assert not _waiting(owner)
    assert owner.stuck_s() > 0.1


def test_a_hung_model_is_found(owner: Owner, held: Held) -> None:
    """The watchdog's inference does not come back, and one sample holds the model."""
    with pytest.raises(WorkerError) as caught:
        owner.check(sample_of(1), timeout_s=0.2)
    assert caught.value.code == "AGENT-WORKER-013"
    held.go_on.set()
    owner.check(sample_of(2), timeout_s=WAIT_S)
    assert owner.stuck_s() == 0


def test_a_busy_model_is_not_hung(owner: Owner) -> None:
    """A queue full of live requests is answered by them, not by the watchdog."""
    askers = [Asker(owner, n, Urgency.LIVE) for n in (1, 2, 3)]
    owner.check(sample_of(4), timeout_s=WAIT_S)
    assert all(asker.is_alive() for asker in askers)


def test_a_model_that_fails_is_not_hung_but_told(owner: Owner, held: Held) -> None:
    """The watchdog hears the model's own error."""
    held.go_on.set()
    with pytest.raises(ModelError, match="model failed"):
        owner.check(sample_of(-1), timeout_s=WAIT_S)


def test_a_model_that_was_swapped_out_passes_the_check(
    owner: Owner, held: Held
) -> None:
    """Nobody is served by it any more."""
    owner.close()
    owner.check(sample_of(1), timeout_s=WAIT_S)
    with pytest.raises(OwnerClosedError):
        owner.predict(sample_of(2))
