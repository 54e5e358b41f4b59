"""When a model is retrained, and when not."""

from itertools import product

import pytest

from hub.retrain.trigger import (
    AlertFacts,
    Limits,
    Move,
    decide_begin,
    decide_collecting,
)

LIMITS = Limits(enabled=True, min_samples=400, cooldown_s=100.0, timeout_s=60.0)


@pytest.mark.parametrize(
    ("drift", "accuracy", "change"),
    list(product([True, False], [True, False], [None, 0.02, -0.04, -0.05, -0.3])),
)
def test_it_takes_drift_and_loss(
    *, drift: bool, accuracy: bool, change: float | None
) -> None:
    """Only drift with measured or estimated loss begins a collection."""
    facts = AlertFacts(
        drift_firing=drift, accuracy_firing=accuracy, confidence_change=change
    )
    loss = accuracy or (change is not None and change <= -0.05)
    expected = Move.COLLECT if drift and loss else Move.NOTHING

    assert decide_begin(facts, LIMITS, has_open_job=False, rested_s=None) is expected


@pytest.mark.parametrize(
    ("enabled", "has_open_job", "rested_s", "expected"),
    [
        (True, False, None, Move.COLLECT),
        (True, False, 100.0, Move.COLLECT),
        (True, False, 99.0, Move.NOTHING),
        (True, True, None, Move.NOTHING),
        (False, False, None, Move.NOTHING),
    ],
)
def test_one_job_at_a_time_with_a_rest_after_it(
    *, enabled: bool, has_open_job: bool, rested_s: float | None, expected: Move
) -> None:
    """An open job, a recent one, or the configuration hold the next one back."""
    facts = AlertFacts(drift_firing=True, accuracy_firing=True, confidence_change=None)
    limits = Limits(enabled=enabled, min_samples=1, cooldown_s=100.0, timeout_s=1.0)

    assert (
        decide_begin(facts, limits, has_open_job=has_open_job, rested_s=rested_s)
        is expected
    )


@pytest.mark.parametrize(
    ("samples", "waited_s", "expected"),
    [
        (400, 1.0, Move.START),
        (400, 61.0, Move.START),
        (399, 60.0, Move.NOTHING),
        (399, 60.1, Move.GIVE_UP),
    ],
)
def test_collecting_ends_with_enough_or_too_late(
    samples: int, waited_s: float, expected: Move
) -> None:
    """Enough samples start the job; too few by the deadline end it."""
    assert decide_collecting(samples, waited_s, LIMITS) is expected
