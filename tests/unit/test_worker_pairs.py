"""Both answers to a sample: what is kept, what a late label gets, and when it ends."""

import threading
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from msgspec import UNSET

from edge_agent.errors import ModelError
from edge_agent.evidence.answers import MAX_VALUES
from edge_agent.evidence.judge import Statistic
from edge_agent.pipeline.pairs import (
    LOOKS,
    MAX_STREAMS,
    PairLog,
    Place,
    StreamPlaces,
    figures_of,
)
from edge_agent.pipeline.prediction import Prediction, ServedBy
from edge_agent.pipeline.recent import Entry, OtherAnswer, Recent
from edge_agent.pipeline.shadow import PREVIOUS_PAIRS, Role, ShadowPlan
from edge_agent.pipeline.shadow_place import is_comparable
from edge_agent.store.slots import Slots
from edge_agent.wire.control import Assignment, ShadowPolicy
from edge_agent.wire.manifest import InputContract, TensorContract
from edge_agent.wire.records import PairedAnswer
from edge_agent.worker_api import shadow_of
from tests.fakes.agent_hub import wait_for
from tests.fakes.paired_path import LABELS, SAMPLE, PairedPath, Scripted, fail


@pytest.fixture
def paired() -> Iterator[PairedPath]:
    """Give a path whose threads end with the test."""
    made = PairedPath()
    yield made
    made.close()


def _numbers(count: int) -> Prediction:
    return Prediction(
        release=1,
        label="",
        index=-1,
        confidence=0.0,
        probabilities=np.empty(0, np.float32),
        outputs={"y": np.arange(count, dtype=np.float32)},
        inputs=SAMPLE,
        latency_us=30.0,
    )


def test_pairs_are_bounded_in_number_and_size() -> None:
    """They end with the last look, and of a large answer a few numbers are kept."""
    log = PairLog()
    for number in range(LOOKS[-1] + 10):
        log.add(Place(stream=1, number=number), _numbers(100_000), _numbers(3))

    kept = log.at_look()
    assert [pair.number for pair in kept] == list(range(LOOKS[-1]))
    one, other = kept[0].incumbent, kept[0].candidate
    assert one is not None
    assert other is not None
    assert one.values is not None
    assert other.values is not None
    assert len(one.values) == MAX_VALUES
    assert one.values[[0, -1]].tolist() == [0.0, 99_999.0]
    assert other.values.tolist() == [0.0, 1.0, 2.0]
    assert figures_of(kept).latency_ratio is None


def test_pairs_are_judged_at_fixed_looks_only() -> None:
    """Between two looks nothing changes; samples that were refused bring none on."""
    log, seen = PairLog(), set()
    for number in range(LOOKS[-1]):
        log.add(Place(stream=1, number=2 * number), _numbers(3), _numbers(3))
        log.add(Place(stream=1, number=2 * number + 1), _numbers(3), None, refused=True)
        seen.add(figures_of(log.at_look()).n)
    assert {n for n in seen if n >= LOOKS[0]} == set(LOOKS)


def test_samples_are_numbered_stream_by_stream() -> None:
    """A sample's place counts those of its own stream that were not sampled too."""
    places = StreamPlaces()
    assert [tuple(places.count(one)) for one in ("a", "b", "a", "a")] == [
        (1, 1),
        (2, 1),
        (1, 2),
        (1, 3),
    ]
    for n in range(MAX_STREAMS):
        places.count(f"s{n}")
    assert places.count("a") == [3 + MAX_STREAMS, 1], "it was forgotten"


def test_late_label_gets_both_answers(paired: PairedPath) -> None:
    """The record says who answered, who else did, and which of them was right."""
    paired.try_out(paired.load(Scripted(1)), Scripted(2, lambda: 1))
    paired.pair("s1")

    record = paired.feedback("s1", "down")

    assert (record.release, record.predicted, record.correct) == (1, "up", False)
    assert record.other == PairedAnswer(release=2, predicted="down", correct=True)


def test_after_the_swap_pairs_go_the_other_way_round(paired: PairedPath) -> None:
    """The active release answered, the one before is the other."""
    paired.swap(paired.load(Scripted(2)), paired.load(Scripted(1, lambda: 1)))
    paired.pair("s1")

    record = paired.feedback("s1", "up")

    assert (record.release, record.correct) == (2, True)
    assert record.other == PairedAnswer(release=1, predicted="down", correct=False)
    assert paired.beside.view().summary.release == 1


def test_label_before_the_answer_makes_no_pair(paired: PairedPath) -> None:
    """It is recorded at once, alone, and counted."""
    hold = threading.Event()

    def wait() -> int:
        hold.wait(20)
        return 0

    paired.try_out(paired.load(Scripted(1)), Scripted(2, wait))
    paired.infer("s1")

    assert paired.feedback("s1", "up").other is UNSET
    assert paired.beside.view().labels_early == 0
    hold.set()
    wait_for(lambda: paired.tried() == 1, "the pair")
    assert paired.beside.view().labels_early == 1


def test_label_that_one_release_cannot_tell_makes_no_pair(paired: PairedPath) -> None:
    """A release that does not know the true class cannot be compared at it."""
    paired.try_out(
        paired.load(Scripted(1)), Scripted(2, labels=("up", "sideways")), ratio=1.0
    )
    paired.pair("s1")
    paired.pair("s2")

    assert paired.feedback("s1", "down").other is UNSET
    assert paired.feedback("s2", "up").other is not UNSET


def test_failure_of_the_release_in_shadow_is_no_answer(paired: PairedPath) -> None:
    """A label of a sample that it failed at is recorded alone."""
    paired.try_out(paired.load(Scripted(1)), Scripted(2, fail))
    paired.pair("s1")

    assert paired.feedback("s1", "up").other is UNSET


def _entry(number: int, sample_id: str) -> Entry:
    return Entry(
        number=number,
        sample_id=sample_id,
        at=0.0,
        release=1,
        label="up",
        labels=LABELS,
        confidence=1.0,
        probabilities=np.ones(1, np.float32),
        served_by=ServedBy.ACTIVE,
        latency_us=1.0,
    )


def test_other_answers_go_with_their_predictions() -> None:
    """They are bounded as the predictions are, and never join a newer one."""
    ring = Recent(keep=3)
    other = OtherAnswer(release=2, predicted="up", labels=LABELS)
    entries = [_entry(n, f"s{n}") for n in range(1, 6)]
    for entry in entries:
        ring.add(entry, None)
        ring.attach(entry, other)
    assert [ring.other_of(f"s{n}") is not None for n in range(1, 6)] == [
        False,
        False,
        True,
        True,
        True,
    ]

    ring.add(_entry(6, "s5"), None)
    assert ring.other_of("s5") is None
    assert not ring.attach(entries[4], other)
    assert ring.other_of("s5") is None


def test_figures_name_the_older_release_the_incumbent(paired: PairedPath) -> None:
    """Failures are the candidate's before the swap and after it."""
    paired.try_out(paired.load(Scripted(1)), Scripted(2, fail))
    for n in range(3):
        paired.pair(f"s{n}")
    before = paired.beside.figures()
    paired.swap(paired.load(Scripted(2)), paired.load(Scripted(1, fail)))
    for n in range(3):
        paired.pair(f"s{n}")
    after = paired.beside.figures()

    assert before is not None
    assert after is not None
    assert (before.n, before.candidate_failures, before.incumbent_failures) == (3, 1, 0)
    assert (after.n, after.candidate_failures, after.incumbent_failures) == (3, 0, 1)


def test_samples_that_the_active_release_fails_at_are_tried_too(
    paired: PairedPath,
) -> None:
    """An incumbent that fails on its own is not the candidate's fault, whether the
    ladder has another answer or not; it is no pair of answers either.
    """  # noqa: D205 - the summary is one sentence
    paired.try_out(paired.load(Scripted(1, fail)), Scripted(2))
    with pytest.raises(ModelError):
        paired.infer("s1")
    paired.beside.after_reply()

    def figures() -> tuple[int, int]:
        found = paired.beside.figures()
        return (found.n, found.incumbent_failures) if found is not None else (0, 0)

    wait_for(lambda: figures() == (1, 1), "the sample")
    assert paired.tried() == 0

    paired.swap(paired.load(Scripted(2, fail)), paired.load(Scripted(1)))
    paired.infer("s2")
    wait_for(
        lambda: (found := paired.beside.figures()) and found.candidate_failures == 1,
        "the sample after the swap",
    )


def test_release_before_is_asked_so_often_and_no_more(paired: PairedPath) -> None:
    """After 1,024 samples it rests, and its figures stay."""
    asked = threading.Semaphore(0)

    def answer() -> int:
        asked.release()
        return 0

    previous = Scripted(1, answer)
    paired.swap(paired.load(Scripted(2)), paired.load(previous))
    for n in range(PREVIOUS_PAIRS):
        paired.infer(f"s{n}")
        assert asked.acquire(timeout=20)
    wait_for(lambda: paired.tried() >= PREVIOUS_PAIRS, "the last pair")
    paired.infer("one more")
    assert paired.beside.take_turn(2, "api") is None

    assert previous.asked == PREVIOUS_PAIRS
    summary = paired.beside.view().summary
    assert (summary.n, summary.dropped) == (PREVIOUS_PAIRS, 0)
    figures = paired.beside.figures()
    assert figures is not None
    assert (figures.n, figures.statistic) == (LOOKS[-1], Statistic.THEIL_U)


def test_release_that_is_busy_is_not_blamed(paired: PairedPath) -> None:
    """Where the release before has been swapped out, the sample is dropped."""
    previous = paired.load(Scripted(1))
    paired.swap(paired.load(Scripted(2)), previous)
    previous.owner.close()

    paired.pair("s1")

    summary = paired.beside.view().summary
    assert (summary.n, summary.errors, summary.dropped) == (0, 0, 1)
    assert paired.beside.view().busy_s == 0.0


def test_release_is_not_compared_with_itself(paired: PairedPath) -> None:
    """What still answers while it becomes the release before makes no pair."""
    previous = paired.load(Scripted(1))
    paired.swap(paired.load(Scripted(2)), previous)
    assert paired.beside.take_turn(1, "api") is None
    assert paired.beside.take_turn(2, "api") is not None


def test_releases_that_cannot_be_compared_are_left_alone(paired: PairedPath) -> None:
    """Models with state, other models, other inputs and the factory model."""
    active, previous = paired.load(Scripted(2)), paired.load(Scripted(1))
    other_input = InputContract(tensor=TensorContract(name="x", shape=[8, 2]))

    assert is_comparable(active, previous)
    assert not is_comparable(replace(active, stateful=True), previous)
    assert not is_comparable(active, replace(previous, stateful=True))
    assert not is_comparable(active, replace(previous, name="other"))
    assert not is_comparable(active, replace(previous, contract=other_input))
    assert not is_comparable(replace(active, is_factory=True), previous)
    paired.swap(replace(active, stateful=True), previous)
    assert paired.beside.view().summary.release == 0


def test_model_with_state_has_no_pairs_in_shadow(paired: PairedPath) -> None:
    """It is tried, but its answers to single samples are neither compared nor kept."""
    paired.try_out(paired.load(Scripted(1), stateful=True), Scripted(2))
    paired.pair("s1")

    assert paired.beside.figures() is None
    assert paired.feedback("s1", "up").other is UNSET
    assert paired.beside.view().summary.n == 1


ASSIGNMENT = Assignment(
    device="d",
    seq=3,
    release=2,
    target="t",
    rollout="r",
    issued_at=1.0,
    artifacts_url="",
    shadow=ShadowPolicy(sample_ratio=0.25),
)
PREVIOUS = ShadowPlan(release=1, ratio=0.25, role=Role.PREVIOUS)
NONE = ShadowPlan()


@pytest.mark.parametrize(
    ("slots", "plan"),
    [
        (
            Slots(active=1, candidate=2, phase="SHADOW"),
            ShadowPlan(release=2, ratio=0.25),
        ),
        (Slots(active=1, candidate=2, phase="SELF_TEST"), NONE),
        (Slots(active=2, previous=1, candidate=2, phase="ACTIVATE"), PREVIOUS),
        (Slots(active=2, previous=1, candidate=2, phase="PROBATION"), PREVIOUS),
        (Slots(active=2, previous=1, candidate=2, phase="COMMIT"), PREVIOUS),
        (Slots(active=2, previous=1, phase="IDLE"), PREVIOUS),
        (Slots(active=1, candidate=2, phase="ROLLBACK"), NONE),
        (Slots(active=3, previous=1, phase="IDLE"), NONE),
        (Slots(active=0, phase="SAFE_MODE"), NONE),
    ],
)
def test_slot_row_says_what_runs_in_shadow(slots: Slots, plan: ShadowPlan) -> None:
    """The candidate in its phase, the release before while its successor's
    assignment is the newest, and nothing without a shadow policy.
    """  # noqa: D205 - the summary is one sentence
    assert shadow_of(replace(slots, assignment=ASSIGNMENT)) == plan
    without = Assignment(
        device="d",
        seq=3,
        release=2,
        target="t",
        rollout="r",
        issued_at=1.0,
        artifacts_url="",
    )
    assert shadow_of(replace(slots, assignment=without)) == NONE
    assert shadow_of(slots) == NONE
