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


def test_labels_that_repeat_each_other_do_not_fire() -> None:
    """Of 60 streams whose labels come in runs of five, at most two fire.

    Taken for independent they would fire several times as often.
    """

    def runs(seed: int, overlap: float) -> bool:
        rng = np.random.default_rng(seed)
        watch = AccuracyWatch(min_labels=100, drop=0.10, overlap=overlap)
        for correct in np.repeat(rng.random(1100) < 0.8, 5):
            watch.add(correct=bool(correct), at=float(watch.labels))
        return watch.has_fired

    fired = [seed for seed in range(60) if runs(seed, 5.0)]

    assert len(fired) <= 2, fired
    assert sum(runs(seed, 1.0) for seed in range(60)) > 6


def test_a_drop_is_found_in_labels_that_repeat_each_other() -> None:
    """Overlap costs time, not the finding."""
    rng = np.random.default_rng(4)
    watch = AccuracyWatch(min_labels=100, drop=0.10, overlap=5.0)
    ratios = [0.8] * 200 + [0.35] * 150
    for correct in np.repeat(rng.random(350) < np.array(ratios), 5):
        watch.add(correct=bool(correct), at=float(watch.labels))

    assert 1000 < watch.fired_label < 1500


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
