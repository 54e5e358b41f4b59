"""A release in shadow: what it is given, what is counted, and what reaches nobody."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from edge_agent.errors import ModelError
from edge_agent.pipeline.infer import Ladder
from edge_agent.pipeline.owner import Owner
from edge_agent.pipeline.prediction import Given, Prediction
from edge_agent.pipeline.shadow import (
    QUEUE_DEPTH,
    Asked,
    Opened,
    Shadow,
    ShadowPlan,
    ShadowPorts,
)
from edge_agent.pipeline.shadow_place import END_S, STUCK_S, Beside
from edge_agent.pipeline.waiting import Urgency
from tests.fakes.agent_hub import wait_for
from tests.fakes.scripted_link import FakeClock

SAMPLE = np.zeros((4, 2), np.float32)


def answer(label: str = "up", confidence: float = 0.75, us: float = 10.0) -> Prediction:
    """Return a prediction."""
    return Prediction(
        release=1,
        label=label,
        index=0,
        confidence=confidence,
        probabilities=np.array([confidence], np.float32),
        outputs={},
        inputs=SAMPLE,
        latency_us=us,
    )


class Candidate:
    """A predictor that does what the test says."""

    def __init__(self, act: Callable[[], Prediction] = answer) -> None:
        """Answer with what ``act`` returns."""
        self.act = act
        self.closed = False

    def predict(self, _sample: Given) -> Prediction:
        """Answer."""
        return self.act()

    def close(self) -> None:
        """Take note."""
        self.closed = True


class Bench:
    """A place for a shadow, with threads that end with the test."""

    def __init__(self, candidate: Candidate) -> None:
        """Nothing runs yet; ``hold`` keeps the candidate until it is set."""
        self.candidate = candidate
        self.clock = FakeClock()
        self.threads: list[threading.Thread] = []
        self.given_up = threading.Event()
        self.owner = Owner(Candidate())
        self.rss = iter((100, 150))
        self.ports = ShadowPorts(
            clock=self.clock,
            load=self.load,
            spawn=self.spawn,
            rss_bytes=lambda: next(self.rss),
            give_up=self.given_up.set,
        )
        self.beside = Beside(self.ports)

    def load(self, _release: int) -> Opened:
        """Load what the test handed over."""
        return Opened(predictor=self.candidate)

    def spawn(self, name: str, body: Callable[[], None]) -> None:
        """Start a thread."""
        self.threads.append(threading.Thread(target=body, name=name, daemon=True))
        self.threads[-1].start()

    def start(self, ratio: float = 1.0) -> None:
        """Load the candidate as release 2."""
        self.beside.follow(ShadowPlan(release=2, ratio=ratio), Ladder())
        wait_for(lambda: self.beside.view().ready, "the candidate")

    def serve(self, made: Prediction, count: int = 1) -> None:
        """Answer requests as the path and a transport do, waiting for each pair."""
        for _ in range(count):
            before = self.done()
            self.ask(made)
            self.beside.after_reply()
            wait_for(lambda before=before: self.done() > before, "the pair")  # type: ignore[misc]

    def ask(self, made: Prediction | None, stream: str = "api") -> None:
        """Answer a request as the path does; its reply is not sent yet."""
        turn = self.beside.take_turn(1, stream)
        if turn is not None:
            self.beside.note(turn, Asked(sample=SAMPLE, answer=made), self.owner)

    def done(self) -> int:
        """Return how many samples were dealt with."""
        summary = self.beside.view().summary
        return summary.n + summary.errors + summary.dropped


@pytest.fixture
def made() -> Iterator[Callable[[Candidate], Bench]]:
    """Make benches and end their threads."""
    benches: list[Bench] = []

    def make(candidate: Candidate) -> Bench:
        benches.append(Bench(candidate))
        return benches[-1]

    yield make
    for bench in benches:
        bench.beside.follow(ShadowPlan(), Ladder())


Make = Callable[[Candidate], Bench]


def test_pairs_are_compared(made: Make) -> None:
    """Class, confidence and latency are compared on the same sample."""
    turns = iter(["up", "down", "up", "up"])
    bench = made(Candidate(lambda: answer(next(turns), 0.5, us=30.0)))
    bench.start()

    bench.serve(answer("up", 0.75, us=10.0), 4)

    summary = bench.beside.view().summary
    assert (summary.release, summary.n, summary.errors) == (2, 4, 0)
    assert summary.disagreement_ratio == 0.25
    assert summary.confidence_shift == pytest.approx(-0.25)
    assert summary.latency_ratio == pytest.approx(3.0, rel=0.05)
    assert summary.rss_bytes == 50


def test_whatever_it_raises_is_counted(made: Make) -> None:
    """An error of the candidate, even a bug, is an error of the candidate."""
    raised = iter([ModelError("AGENT-MODEL-003", "failed"), ValueError("bug")])

    def act() -> Prediction:
        raise next(raised)

    bench = made(Candidate(act))
    bench.start()

    bench.serve(answer(), 2)

    summary = bench.beside.view().summary
    assert (summary.n, summary.errors) == (0, 2)


def test_nothing_is_handed_over_before_the_reply(made: Make) -> None:
    """A request pays nothing before its reply, and a transport that tells nothing of
    replies hands it over with its next request.
    """  # noqa: D205 - the summary is one sentence
    bench = made(Candidate())
    bench.start()

    bench.ask(answer())
    assert bench.done() == 0
    bench.beside.after_reply()
    wait_for(lambda: bench.done() == 1, "the pair")
    bench.beside.after_reply()
    assert bench.done() == 1


def test_live_requests_go_first(made: Make) -> None:
    """While requests wait for the active model, nothing is tried."""
    bench = made(Candidate())
    bench.start()
    bench.owner._waiting.put(SAMPLE, Urgency.LIVE)

    bench.serve(answer(), 3)

    assert bench.beside.view().summary.dropped == 3


def test_full_queue_drops_and_counts(made: Make) -> None:
    """A slow candidate gets fewer samples; nobody waits for it."""
    begun, hold = threading.Event(), threading.Event()

    def act() -> Prediction:
        begun.set()
        hold.wait(20)
        return answer()

    bench = made(Candidate(act))
    bench.start()
    bench.ask(answer())
    bench.beside.after_reply()
    assert begun.wait(20)
    for _ in range(QUEUE_DEPTH + 20):
        bench.ask(answer())
        bench.beside.after_reply()

    assert bench.beside.view().summary.dropped == 20
    bench.clock.now += 7.0
    assert bench.beside.view().busy_s == 7.0
    hold.set()
    wait_for(lambda: bench.done() == QUEUE_DEPTH + 21, "the rest")


@pytest.mark.parametrize("period", [2, 5, 10, 16])
@pytest.mark.parametrize("ratio", [0.1, 0.25, 0.5])
def test_sampling_keeps_out_of_step(period: int, ratio: float) -> None:
    """Each place of a source that repeats itself is sampled as often as the others."""
    bench = Bench(Candidate())
    plan = ShadowPlan(release=2, ratio=ratio)
    shadow = Shadow(plan, lambda: bench.load(2), bench.ports)
    taken = [0] * period
    for n in range(4000 * period):
        taken[n % period] += shadow.take_turn("api") is not None

    for count in taken:
        assert count == pytest.approx(4000 * ratio, rel=0.05)


def test_candidate_that_does_not_load_says_why(made: Make) -> None:
    """A problem is told, and live requests go on."""
    bench = made(Candidate())

    def fail(_release: int) -> Opened:
        raise ModelError("AGENT-MODEL-001", "model does not load")

    bench.ports = ShadowPorts(
        clock=bench.clock,
        load=fail,
        spawn=bench.spawn,
        rss_bytes=lambda: 0,
        give_up=bench.given_up.set,
    )
    bench.beside = Beside(bench.ports)
    bench.beside.follow(ShadowPlan(release=2, ratio=1.0), Ladder())

    wait_for(lambda: bench.beside.view().problem, "the problem")
    assert "AGENT-MODEL-001" in bench.beside.view().problem
    bench.serve(answer())
    assert bench.beside.view().summary.dropped == 1


def test_the_end_frees_the_candidate(made: Make) -> None:
    """A shadow that ended is closed before the reload goes on, and counts no more."""
    bench = made(Candidate())
    bench.start()
    bench.serve(answer())

    bench.beside.follow(ShadowPlan(), Ladder())

    assert bench.candidate.closed
    assert bench.beside.view().summary.release == 0
    bench.ask(answer())
    bench.beside.after_reply()


def test_thread_that_never_returns_ends_the_process(made: Make) -> None:
    """A reload does not wait long for it; then the worker gives itself up."""
    begun, hold = threading.Event(), threading.Event()

    def act() -> Prediction:
        begun.set()
        hold.wait(60)
        return answer()

    bench = made(Candidate(act))
    bench.start()
    bench.ask(answer())
    bench.beside.after_reply()
    assert begun.wait(20)

    bench.beside.follow(ShadowPlan(), Ladder())

    assert bench.given_up.wait(END_S + STUCK_S + 20)
    hold.set()


def test_a_device_that_is_too_hot_leaves_the_shadow_out(made: Make) -> None:
    """What is shed is counted as dropped, and tried again when it has cooled down."""
    bench = made(Candidate())
    hot = [True]
    bench.ports = replace(bench.ports, is_shed=lambda: hot[0])
    bench.beside = Beside(bench.ports)
    bench.start()

    bench.serve(answer(), 3)
    hot[0] = False
    bench.serve(answer(), 2)

    summary = bench.beside.view().summary
    assert (summary.dropped, summary.n) == (3, 2)
