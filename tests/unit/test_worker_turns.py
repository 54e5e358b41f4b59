"""Turns at a model in the asker's own thread, and who takes its place."""

import threading
from collections.abc import Iterator

import pytest

from edge_agent.base.relief import Relieved, my_stand_in, relievable
from edge_agent.errors import ModelError, WorkerError
from edge_agent.pipeline.owner import Owner
from edge_agent.pipeline.prediction import Prediction
from edge_agent.pipeline.waiting import OwnerClosedError
from tests.fakes.held_model import WAIT_S, Held, sample_of

SOON_S = 0.05


class Connection(threading.Thread):
    """A thread that asks once and can be relieved."""

    def __init__(self, owner: Owner, value: float, timeout_s: float = WAIT_S) -> None:
        """Ask at once."""
        super().__init__()
        self._ask = (owner, value, timeout_s)
        self.relieved = threading.Event()
        self.outcome: Prediction | BaseException | None = None
        self.start()

    def run(self) -> None:
        """Ask."""
        owner, value, timeout_s = self._ask
        try:
            self.outcome = relievable(
                self.relieved.set,
                lambda: owner.predict(sample_of(value), timeout_s=timeout_s),
            )
        except (Relieved, WorkerError, ModelError) as end:
            self.outcome = end


@pytest.fixture
def held() -> Held:
    """A model that is held."""
    return Held()


@pytest.fixture
def owner(held: Held) -> Iterator[Owner]:
    """Its owner, idle."""
    made = Owner(held, depth=3)
    thread = threading.Thread(target=made.run, name="owner")
    thread.start()
    yield made
    held.go_on.set()
    made.close()
    thread.join(WAIT_S)
    assert not thread.is_alive()
    assert held.closed


def _ask(owner: Owner, value: float) -> Prediction:
    return relievable(pytest.fail, lambda: owner.predict(sample_of(value)))


def test_who_can_be_relieved_runs_a_free_model_itself(owner: Owner, held: Held) -> None:
    """No other thread is woken for it; a failure is the asker's as ever."""
    held.go_on.set()
    assert _ask(owner, 1).label == "1"
    with pytest.raises(ModelError):
        _ask(owner, -1)
    assert _ask(owner, 2).label == "2"
    assert set(held.threads) == {threading.current_thread()}


def test_who_cannot_be_relieved_waits_for_the_owner(owner: Owner, held: Held) -> None:
    """A thread whose place nobody could take never runs a model."""
    held.go_on.set()
    assert owner.predict(sample_of(1)).label == "1"
    assert [thread.name for thread in held.threads] == ["owner"]


def test_a_model_that_is_in_use_is_waited_for(owner: Owner, held: Held) -> None:
    """One thread at a time is in it: the second is answered by the owner."""
    first = Connection(owner, 1)
    assert held.arrived.wait(WAIT_S)
    second = Connection(owner, 2)
    while not owner.waiting:
        assert second.is_alive()
    held.go_on.set()
    for asker in (first, second):
        asker.join(WAIT_S)
        assert isinstance(asker.outcome, Prediction)
    assert held.order == [1, 2]
    assert [each.name for each in held.threads] == [first.name, "owner"]


def test_nobody_overtakes_a_live_request_that_waits(held: Held) -> None:
    """A free model is left to who came before; here the owner has not begun yet."""
    owner = Owner(held)
    first = threading.Thread(target=lambda: owner.predict(sample_of(1)))
    first.start()
    while not owner.waiting:
        assert first.is_alive()
    second = Connection(owner, 2)
    while owner.waiting < 2:
        assert second.is_alive()
    held.go_on.set()
    owner.close()
    owner.run()
    for asker in (first, second):
        asker.join(WAIT_S)
    assert held.order == [1, 2]


@pytest.mark.parametrize("value", [1, -1], ids=["answers", "fails"])
def test_a_thread_that_hangs_is_relieved_once(
    owner: Owner, held: Held, value: float
) -> None:
    """Whatever comes of its turn at last, another thread has answered by then."""
    asker = Connection(owner, value, SOON_S)
    assert asker.relieved.wait(WAIT_S)
    asker.relieved.clear()
    with pytest.raises(WorkerError) as caught:
        owner.predict(sample_of(2), timeout_s=SOON_S)
    assert caught.value.code == "AGENT-WORKER-005"
    held.go_on.set()
    asker.join(WAIT_S)
    assert isinstance(asker.outcome, Relieved)
    assert not asker.relieved.is_set()
    assert held.order[0] == value


def test_a_slow_model_is_the_owners_until_it_answers_in_time(
    owner: Owner, held: Held
) -> None:
    """After a relief nobody else runs it, or each request would take a thread."""
    asker = Connection(owner, 1, SOON_S)
    assert asker.relieved.wait(WAIT_S)
    held.go_on.set()
    asker.join(WAIT_S)
    assert _ask(owner, 2).label == "2"
    assert _ask(owner, 3).label == "3"
    names = [thread.name for thread in held.threads]
    assert names == [asker.name, "owner", threading.current_thread().name]


def test_turns_after_a_long_rest_are_watched_too(owner: Owner, held: Held) -> None:
    """An owner that sleeps because nothing happened is woken by the next turn."""
    held.go_on.set()
    for value in (1, 2, 3):
        assert _ask(owner, value).label == f"{value}"
        deadline = threading.Event()
        while not owner._dozes:
            assert not deadline.wait(SOON_S)
    held.go_on.clear()
    asker = Connection(owner, 4, SOON_S)
    assert asker.relieved.wait(WAIT_S)
    held.go_on.set()
    asker.join(WAIT_S)


def test_a_model_is_not_freed_during_a_turn(owner: Owner, held: Held) -> None:
    """A swap waits for who is at the model, and lets nobody else begin."""
    asker = Connection(owner, 1)
    assert held.arrived.wait(WAIT_S)
    owner.close()
    late = Connection(owner, 2)
    late.join(WAIT_S)
    assert isinstance(late.outcome, OwnerClosedError)
    assert not held.closed
    held.go_on.set()
    asker.join(WAIT_S)
    assert isinstance(asker.outcome, Prediction)


def test_a_swapped_out_model_is_run_by_nobody(held: Held) -> None:
    """After the owner has freed it, a request is told to ask its successor."""
    owner = Owner(held)
    owner.close()
    owner.run()
    assert held.closed
    with pytest.raises(OwnerClosedError):
        _ask(owner, 1)
    assert not held.order


def test_only_what_is_answered_relievably_can_be_relieved() -> None:
    """The stand-in goes with its request, whatever its end."""
    assert my_stand_in() is None
    assert relievable(pytest.fail, my_stand_in) is not None
    assert my_stand_in() is None
    with pytest.raises(ZeroDivisionError):
        relievable(pytest.fail, lambda: 1 / 0)
    assert my_stand_in() is None
