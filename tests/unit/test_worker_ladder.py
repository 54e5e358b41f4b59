"""Who answers when models fail, and what the path counts."""

import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from edge_agent.config import ProfileConfig
from edge_agent.errors import ModelError, SampleRejectedError, WorkerError
from edge_agent.pipeline.collect import Collector, CollectState
from edge_agent.pipeline.infer import Ladder, Loaded
from edge_agent.pipeline.owner import Owner
from edge_agent.pipeline.path import PathPorts, SamplePath
from edge_agent.pipeline.prediction import Given, Prediction, ServedBy
from edge_agent.pipeline.waiting import OwnerClosedError
from edge_agent.serve.oip.request import InferRequest, SentTensor
from edge_agent.wire.manifest import InputContract, TensorContract
from edge_agent.wire.profile import Channel, ProfileData, ReferenceProfile, Source
from edge_agent.wire.records import AnyRecord, ProfileRecord, ShadowSummary
from edge_agent.worker_metrics import MetricsPorts, WorkerMetrics
from edge_agent.worker_models import WorkerModels

SAMPLE = np.zeros((4, 2), np.float32)
LABELS = ("up", "down")


class FixedClock:
    """Time stands still until it is moved."""

    def __init__(self) -> None:
        """Start at 100 s."""
        self.now = 100.0

    def wall(self) -> float:
        """Return the time."""
        return self.now

    def mono(self) -> float:
        """Return the time."""
        return self.now


class Scripted:
    """A predictor that does what the test says."""

    def __init__(self, release: int, act: Callable[[], None] = lambda: None) -> None:
        """Answer for ``release`` after ``act``."""
        self.release = release
        self.act = act

    def predict(self, sample: Given) -> Prediction:
        """Answer ``up``."""
        self.act()
        assert isinstance(sample, np.ndarray)
        return Prediction(
            release=self.release,
            label="up",
            index=0,
            confidence=0.75,
            probabilities=np.array([0.75, 0.25], np.float32),
            outputs={},
            inputs=sample,
            latency_us=10.0,
        )

    def close(self) -> None:
        """Nothing to free."""


def _fail() -> None:
    raise ModelError("AGENT-MODEL-003", "model failed")


def _reject() -> None:
    raise SampleRejectedError("range", "too large")


Load = Callable[[Scripted], Loaded]


@pytest.fixture
def load() -> Iterator[Load]:
    """Give predictors owner threads that end with the test."""
    owners: list[tuple[Owner, threading.Thread]] = []

    def make(predictor: Scripted) -> Loaded:
        owner = Owner(predictor, depth=4)
        thread = threading.Thread(target=owner.run)
        thread.start()
        owners.append((owner, thread))
        return Loaded(
            owner=owner,
            name="m",
            release=predictor.release,
            sha256="a" * 64,
            labels=LABELS,
            contract=InputContract(tensor=TensorContract(name="x", shape=[4, 2])),
            outputs=(TensorContract(name="probabilities", shape=[2]),),
            reference=ReferenceProfile(
                model="m",
                channels=[
                    Channel(name="c", source=Source.CLASS, categories=list(LABELS))
                ],
                data=ProfileData(rows=0, counts=[[0, 0]]),
            ),
            reference_sha256="b" * 64,
        )

    yield make
    for owner, _ in owners:
        owner.close()
    for _, thread in owners:
        thread.join(5)


def test_the_active_model_answers(load: Load) -> None:
    """A healthy ladder is served by its first step."""
    ladder = Ladder(active=load(Scripted(2)), previous=load(Scripted(1)))
    answer = ladder.predict(SAMPLE)
    assert (answer.served_by, answer.prediction.release) == (ServedBy.ACTIVE, 2)
    assert answer.failures == ()


def test_the_previous_model_answers_where_the_active_fails(load: Load) -> None:
    """A failing model costs nothing but its own answers."""
    ladder = Ladder(active=load(Scripted(2, _fail)), previous=load(Scripted(1)))
    answer = ladder.predict(SAMPLE)
    assert (answer.served_by, answer.prediction.release) == (ServedBy.PREVIOUS, 1)
    assert [error.code for error in answer.failures] == ["AGENT-MODEL-003"]


def test_the_rule_answers_where_all_models_fail(load: Load) -> None:
    """The configured label is the last answer."""
    failing = load(Scripted(2, _fail))
    ladder = Ladder(active=failing, previous=load(Scripted(1, _fail)), fallback="rest")
    answer = ladder.predict(SAMPLE)
    assert (answer.served_by, answer.prediction.label) == (ServedBy.RULE, "rest")
    assert answer.prediction.confidence == 0


def test_without_a_rule_the_error_is_explicit(load: Load) -> None:
    """Nobody can answer: the error says why the active model could not."""
    with pytest.raises(ModelError, match="model failed") as caught:
        Ladder(active=load(Scripted(2, _fail))).predict(SAMPLE)
    assert caught.value.code == "AGENT-MODEL-006"
    with pytest.raises(ModelError, match="no release is loaded"):
        Ladder().predict(SAMPLE)


def test_a_rejected_sample_does_not_fall_down_the_ladder(load: Load) -> None:
    """Another model would not make a bad sample good."""
    ladder = Ladder(
        active=load(Scripted(2, _reject)), previous=load(Scripted(1)), fallback="rest"
    )
    with pytest.raises(SampleRejectedError):
        ladder.predict(SAMPLE)


def test_a_stuck_model_is_given_up_at_the_deadline(load: Load) -> None:
    """A model that hangs does not hang the asker; the one before it answers."""
    release = threading.Event()

    def hang() -> None:
        release.wait(10)

    stuck = load(Scripted(2, hang))
    try:
        ladder = Ladder(active=stuck, previous=load(Scripted(1)))
        answer = ladder.predict(SAMPLE, step_timeout_s=0.05)
        assert answer.served_by is ServedBy.PREVIOUS
        assert [error.code for error in answer.failures] == ["AGENT-WORKER-005"]
    finally:
        release.set()


def test_a_closed_owner_says_so(load: Load) -> None:
    """A model that was swapped out is told apart from one that fails."""
    loaded = load(Scripted(1))
    loaded.owner.close()
    with pytest.raises(OwnerClosedError):
        Ladder(active=loaded, fallback="rest").predict(SAMPLE)


def _path(records: list[AnyRecord], clock: FixedClock) -> SamplePath:
    ports = PathPorts(clock=clock, emit=records.append, save_collect=lambda _: None)
    config = ProfileConfig(window_rows=16, window_s=60.0)
    return SamplePath(config, Collector(None, CollectState()), ports)


def test_a_swap_closes_the_window_and_keeps_the_baseline(load: Load) -> None:
    """The old release's partial window is recorded; its figures become `before`."""
    records: list[AnyRecord] = []
    path = _path(records, FixedClock())
    path.swap(Ladder(active=load(Scripted(1))))
    for n in range(5):
        path.infer(f"s{n}", SAMPLE)
    path.swap(Ladder(active=load(Scripted(2))))
    path.infer("s5", SAMPLE)
    now, before, total = path.figures()
    assert (now.release, now.predictions) == (2, 1)
    assert (before.release, before.predictions, before.class_counts) == (1, 5, [5, 0])
    assert before.confidence_sum == pytest.approx(3.75)
    assert total.predictions == 6
    (window,) = records
    assert isinstance(window, ProfileRecord)
    assert (window.release, window.profile.rows) == (1, 5)


def test_an_old_window_closes_with_what_it_has(load: Load) -> None:
    """Age closes a window; a window that saw nothing leaves no record."""
    records: list[AnyRecord] = []
    clock = FixedClock()
    path = _path(records, clock)
    path.swap(Ladder(active=load(Scripted(1))))
    clock.now += 61
    path.tick()
    assert records == []
    path.infer("s", SAMPLE)
    clock.now += 59
    path.tick()
    assert records == []
    clock.now += 2
    path.tick()
    (window,) = records
    assert isinstance(window, ProfileRecord)
    assert window.window_end_at - window.window_start_at == pytest.approx(61)


def test_what_the_previous_model_answers_is_an_error_of_the_active(load: Load) -> None:
    """Probation must see the failing release, not the one that stood in."""
    path = _path([], FixedClock())
    path.swap(Ladder(active=load(Scripted(2, _fail)), previous=load(Scripted(1))))
    assert path.infer("s", SAMPLE).served_by is ServedBy.PREVIOUS
    now, _, total = path.figures()
    assert (now.release, now.predictions, now.errors) == (2, 0, 1)
    assert (total.predictions, total.errors) == (1, 0)


def test_a_sample_without_any_model_is_counted_as_an_error() -> None:
    """No model and no rule: the error is explicit and counted."""
    path = _path([], FixedClock())
    with pytest.raises(ModelError):
        path.infer("s", SAMPLE)
    assert path.figures()[2].errors == 1


def test_feedback_needs_a_known_sample_and_label(load: Load) -> None:
    """A label for an unknown sample, or one the model does not have, is refused."""
    records: list[AnyRecord] = []
    path = _path(records, FixedClock())
    path.swap(Ladder(active=load(Scripted(1))))
    path.infer("s", SAMPLE)
    with pytest.raises(WorkerError, match="no recent prediction"):
        path.feedback("other", "up")
    with pytest.raises(WorkerError, match="is no label"):
        path.feedback("s", "sideways")
    assert path.feedback("s", "up")
    assert not path.feedback("s", "down")
    assert len(records) == 1


def test_the_rows_of_one_request_have_one_release(load: Load) -> None:
    """A swap between two rows changes the release of neither."""
    path = _path([], FixedClock())
    first, second = load(Scripted(1)), load(Scripted(2))

    def swap() -> None:
        path.swap(Ladder(active=second, previous=first))

    path.swap(Ladder(active=load(Scripted(1, swap))))
    ports = MetricsPorts(
        outbox=dict,
        dropped=int,
        rss_bytes=int,
        uptime_s=float,
        shadow=lambda: ShadowSummary(release=0),
    )
    models = WorkerModels(path, WorkerMetrics(path, ports))
    rows = SentTensor(
        name="x", datatype="FP32", shape=(2, 4, 2), data=[0.0] * 16, binary=False
    )
    (model,) = models.served()

    answer = models.infer(model, 0, InferRequest(id="s", inputs=(rows,)))

    assert answer.version == "1"
    assert [entry.release for entry in path.recent(0, 10)] == [1, 1]
    assert path.infer("next", SAMPLE).release == 2
