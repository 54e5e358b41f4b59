"""Probation: a release is judged against the device's own figures before it."""

from dataclasses import replace
from typing import Any

import pytest

from edge_agent.store.slots import Figures
from edge_agent.update.probation import (
    CLASS_SHIFT,
    CONFIDENCE,
    ERRORS,
    ERRORS_ALLOWED,
    MISFITS,
    Evidence,
    Verdict,
    decide,
)
from edge_agent.wire.control import ProbationPolicy

POLICY = ProbationPolicy()
BEFORE = Figures(
    release=1,
    predictions=200,
    latency_us=50.0,
    confidence=0.8,
    class_counts=(100, 100),
)
NOW = Figures(
    release=2, predictions=60, latency_us=60.0, confidence=0.75, class_counts=(30, 30)
)
FINE = Evidence(now=NOW, before=BEFORE, reference=(50, 50), elapsed_s=10.0)


def now(**changes: Any) -> Evidence:  # noqa: ANN401 - fields of several types
    """Return evidence with other figures of the new release."""
    return replace(FINE, now=replace(NOW, **changes))


def test_good_release_passes() -> None:
    """Enough predictions, enough time, no breach."""
    assert decide(FINE, POLICY).verdict is Verdict.PASS


@pytest.mark.parametrize(
    "evidence", [now(predictions=59), replace(FINE, elapsed_s=1.9)]
)
def test_too_little_evidence_waits(evidence: Evidence) -> None:
    """Neither few predictions nor little time is enough."""
    assert decide(evidence, POLICY).verdict is Verdict.WAIT


def test_quiet_device_keeps_it_at_the_deadline_and_says_on_how_much() -> None:
    """A device without traffic keeps a release that answers: no success, no failure."""
    quiet = replace(now(predictions=12), elapsed_s=120.0)
    judgement = decide(quiet, POLICY)

    assert judgement.verdict is Verdict.PASS
    assert judgement.detail == "12 of 60 predictions"


@pytest.mark.parametrize("elapsed_s", [3.0, 120.0])
def test_failing_where_the_release_before_answers_is_a_breach(elapsed_s: float) -> None:
    """It counts as soon as it is known, with few predictions at the deadline too."""
    bad = now(predictions=20, errors=30, fallbacks=ERRORS_ALLOWED + 1)
    judgement = decide(replace(bad, elapsed_s=elapsed_s), POLICY)

    assert (judgement.verdict, judgement.code) == (Verdict.BREACH, ERRORS)
    assert "fails on 6 of 50 samples" in judgement.detail
    assert "limit 5.0" in judgement.detail


@pytest.mark.parametrize(
    "bad",
    [
        now(fallbacks=ERRORS_ALLOWED, errors=ERRORS_ALLOWED),
        now(errors=30),
        now(predictions=940, errors=60, fallbacks=19),
    ],
    ids=["few", "what neither answers", "two in a hundred"],
)
def test_errors_that_the_swap_did_not_bring_are_forgiven(bad: Evidence) -> None:
    """Neither a handful, nor what no release answers, nor a small share decides."""
    assert decide(bad, POLICY).verdict is Verdict.PASS


def test_errors_of_before_are_forgiven() -> None:
    """A device whose sensor fails has failures with every release."""
    sick = replace(
        FINE,
        before=replace(BEFORE, errors=40),
        now=replace(NOW, errors=16, fallbacks=16),
    )

    assert decide(sick, POLICY).verdict is Verdict.PASS
    assert decide(replace(sick, before=BEFORE), POLICY).code == ERRORS


@pytest.mark.parametrize(
    ("evidence", "code"),
    [
        (now(confidence=0.49), CONFIDENCE),
        (
            replace(
                now(class_counts=(60, 0)),
                reference=(0, 50),
                before=replace(BEFORE, class_counts=(0, 200)),
            ),
            CLASS_SHIFT,
        ),
    ],
)
def test_classes_and_confidence_are_remarked_on(evidence: Evidence, code: str) -> None:
    """What the device happens to see never sends a release back; it is said."""
    judgement = decide(evidence, POLICY)

    assert judgement.verdict is Verdict.PASS
    (remark,) = judgement.remarks
    assert remark.startswith(f"{code}: ")


def test_times_of_different_moments_are_not_compared() -> None:
    """A machine that is busy now says nothing of the release."""
    judgement = decide(now(latency_us=1e6), POLICY)

    assert (judgement.verdict, judgement.remarks) == (Verdict.PASS, ())


def test_class_shift_of_before_is_not_remarkable() -> None:
    """Drifted data makes every release's classes differ from the reference."""
    shifted = replace(
        now(class_counts=(60, 0)),
        reference=(0, 50),
        before=replace(BEFORE, class_counts=(200, 0)),
    )

    assert decide(shifted, POLICY).remarks == ()


def test_every_failure_of_a_first_release_counts() -> None:
    """Without a release before there is nobody to ask, and nothing to compare with."""
    alone = replace(now(confidence=0.2), before=None, has_incumbent=False)

    assert decide(alone, POLICY).verdict is Verdict.PASS
    bad = replace(alone, now=replace(NOW, predictions=0, errors=6))
    assert decide(bad, POLICY).code == ERRORS


def test_labels_that_changed_are_not_compared() -> None:
    """Class counts of another length say nothing."""
    other = replace(now(class_counts=(60, 0)), reference=(1, 1, 1))

    assert decide(other, POLICY).verdict is Verdict.PASS


def test_without_classes_confidence_is_not_compared() -> None:
    """A regression after a classifier has no confidence to lose, nor the reverse."""
    values = replace(now(class_counts=(), confidence=0.0), reference=())
    after = replace(now(), before=replace(BEFORE, class_counts=(), confidence=0.99))

    assert decide(values, POLICY).verdict is Verdict.PASS
    assert decide(after, POLICY).verdict is Verdict.PASS
    assert decide(values, POLICY).remarks == decide(after, POLICY).remarks == ()


def test_a_release_that_takes_other_samples_does_not_stay() -> None:
    """Most samples have another shape than it takes: it is found before any answer."""
    judgement = decide(now(predictions=0, misfits=60), POLICY)

    assert (judgement.verdict, judgement.code) == (Verdict.BREACH, MISFITS)
    assert "60 of 60" in judgement.detail


@pytest.mark.parametrize(
    "evidence",
    [
        now(predictions=0, misfits=59),
        replace(
            now(predictions=0, misfits=60),
            before=replace(BEFORE, predictions=10, misfits=300),
        ),
    ],
)
def test_few_misfits_and_old_ones_are_not_held_against_it(evidence: Evidence) -> None:
    """Too few decide nothing, and what did not fit before is the sender's fault."""
    assert decide(evidence, POLICY).verdict is Verdict.WAIT


def test_a_mixed_source_is_judged_by_what_fits() -> None:
    """As long as at least half of the samples fit, the release is judged by these."""
    assert decide(now(misfits=60), POLICY).verdict is Verdict.PASS
