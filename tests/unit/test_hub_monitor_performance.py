"""The detector of lost accuracy."""

import math
from statistics import median

import numpy as np
import pytest

from hub.monitor.performance import (
    THRESHOLD,
    AccuracyWatch,
    score_accuracy,
)


def run(seed: int, *ratios: tuple[float, int]) -> AccuracyWatch:
    """Feed labels that are right with a given ratio, for given numbers of labels."""
    rng = np.random.default_rng(seed)
    watch = AccuracyWatch(min_labels=100, drop=0.10)
    for ratio, n in ratios:
        for correct in rng.random(n) < ratio:
            watch.add(correct=bool(correct), at=float(watch.labels))
    return watch


def test_a_clear_drop_fires_within_a_hundred_labels() -> None:
    """From 0.8 to 0.4 the median delay is below 60 labels, and none is missed."""
    delays = [run(seed, (0.8, 200), (0.4, 200)).fired_label - 200 for seed in range(40)]

    assert min(delays) > 0, delays
    assert median(delays) < 60, delays
    assert max(delays) < 150, delays


def test_unchanged_accuracy_hardly_ever_fires() -> None:
    """Of 60 streams of 1000 labels at 0.8, at most two fire."""
    fired = [seed for seed in range(60) if run(seed, (0.8, 1100)).has_fired]

    assert len(fired) <= 2, fired


def test_nothing_is_said_before_the_baseline_is_complete() -> None:
    """All labels wrong from the start are the release's own level, not a drop."""
    watch = run(1, (0.0, 100))

    assert not watch.is_ready
    assert not watch.has_fired


def test_it_takes_itself_back_after_recovery() -> None:
    """Once the newest labels are back at the own level, the alarm ends."""
    assert not run(2, (0.85, 200), (0.3, 150), (0.85, 250)).has_fired


def test_threshold_bounds_the_labels_between_false_alarms() -> None:
    """The threshold is Wald's bound for one false alarm in 5000 labels."""
    assert math.exp(THRESHOLD) == pytest.approx(5000)


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [
        (0, 0, 0.0, 1.0),
        (8, 10, 0.490, 0.943),
        (0, 10, 0.0, 0.278),
        (10, 10, 0.722, 1.0),
    ],
)
def test_interval_is_wilsons(right: int, n: int, low: float, high: float) -> None:
    """Known values of Wilson's interval come out."""
    interval = score_accuracy(right, n)

    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-3)
