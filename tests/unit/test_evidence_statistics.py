"""Figures of pairs: what is measured from the answers of two releases."""

import math

import numpy as np
import pytest

from edge_agent.evidence.judge import Statistic
from edge_agent.evidence.statistics import (
    Answer,
    Pair,
    count_bursts,
    distance_correlation,
    entropy_of,
    measure,
    rank_correlation,
    set_overlap,
    theil_u,
    time_information,
)


def test_theils_u_ignores_names_of_classes() -> None:
    """A candidate that swaps two classes everywhere tells all of the incumbent's."""
    rng = np.random.default_rng(1)
    classes = rng.integers(0, 3, 256).tolist()
    swapped = [{0: 1, 1: 0, 2: 2}[one] for one in classes]
    value = theil_u(classes, swapped)
    assert value is not None
    assert value > 0.98


@pytest.mark.parametrize("seed", range(20))
def test_theils_u_of_chance_is_next_to_nothing(seed: int) -> None:
    """Independent answers are far below the limit, thanks to the correction."""
    rng = np.random.default_rng(seed)
    one, other = rng.integers(0, 7, (2, 256)).tolist()
    value = theil_u(one, other)
    assert value is not None
    assert value < 0.06


def test_a_constant_candidate_tells_nothing_and_a_constant_incumbent_cannot() -> None:
    """The first is 0, the second has no value at all."""
    assert theil_u([0, 1] * 50, [1] * 100) == 0.0
    assert theil_u([1] * 100, [0, 1] * 50) is None


def test_entropy_is_in_nats() -> None:
    """Two classes in equal parts have ln 2."""
    assert entropy_of([0, 1] * 10) == pytest.approx(math.log(2))


def test_a_burst_counts_once_and_a_release_that_always_fails_many_times() -> None:
    """Ten failures in a row are one, two streams are two, 256 in a row are 26."""
    assert count_bursts((0, number) for number in range(100, 110)) == 1
    assert count_bursts([(0, 5), (1, 6)]) == 2
    assert count_bursts((0, number) for number in range(256)) == 26
    assert count_bursts((0, 100 * number) for number in range(6)) == 6
    assert count_bursts([]) == 0


def test_measured_are_failures_of_one_alone_and_ratios_of_both() -> None:
    """What both failed on says nothing; what one failed on is counted for it."""
    one = Answer(index=0, confidence=0.9, latency_us=100.0)
    other = Answer(index=1, confidence=0.7, latency_us=150.0)
    pairs = [
        *(Pair(number=100 * k, incumbent=one, candidate=other) for k in range(5)),
        Pair(number=1000, incumbent=one, candidate=None),
        Pair(number=2000, incumbent=None, candidate=other),
        Pair(number=3000, incumbent=None, candidate=None),
    ]
    found = measure(pairs)
    assert (found.n, found.candidate_failures, found.incumbent_failures) == (7, 1, 1)
    assert found.confidence_drop == pytest.approx(0.2)
    assert found.latency_ratio == pytest.approx(1.5)
    assert found.association is None


def test_nothing_measured_is_nothing_known() -> None:
    """Without pairs there are no figures."""
    found = measure([])
    assert (found.n, found.statistic) == (0, Statistic.NONE)
    assert found.latency_ratio is None


def _values(rows: np.ndarray) -> list[Answer]:
    return [Answer(values=row) for row in rows]


def _pairs(one: np.ndarray, other: np.ndarray) -> list[Pair]:
    both = zip(_values(one), _values(other), strict=True)
    return [Pair(number=k, incumbent=a, candidate=b) for k, (a, b) in enumerate(both)]


def test_a_regression_is_compared_by_rank() -> None:
    """Another scale keeps the rank; a constant or random candidate does not."""
    rng = np.random.default_rng(2)
    truth = rng.normal(size=(256, 1))
    good = measure(_pairs(truth, 3 * truth + rng.normal(0, 0.3, (256, 1))))
    assert good.statistic is Statistic.RANK_CORRELATION
    assert good.association is not None
    assert good.association > 0.9
    assert measure(_pairs(truth, np.ones((256, 1)))).association == 0.0
    chance = measure(_pairs(truth, rng.normal(size=(256, 1)))).association
    assert chance is not None
    assert chance < 0.3
    assert measure(_pairs(np.ones((256, 1)), truth)).association is None


def test_an_embedding_may_be_turned() -> None:
    """A rotation keeps distances, so the association is 1; noise has none."""
    rng = np.random.default_rng(3)
    one = rng.normal(size=(256, 32))
    turn, _ = np.linalg.qr(rng.normal(size=(32, 32)))
    assert distance_correlation(one, one @ turn) == pytest.approx(1.0)
    found = measure(_pairs(one, rng.normal(size=(256, 32))))
    assert found.statistic is Statistic.DISTANCE_CORRELATION
    assert found.association is not None
    assert abs(found.association) < 0.3


def test_values_of_another_size_tell_nothing() -> None:
    """A candidate that answers with more numbers has association 0."""
    found = measure(_pairs(np.arange(64.0).reshape(64, 1), np.ones((64, 2))))
    assert found.association == 0.0


def test_detectors_are_compared_by_what_they_find() -> None:
    """The overlap of finds counts beyond what finds of other samples have in common."""
    one = [Answer(found=frozenset({place % 4})) for place in range(64)]
    half = [
        Answer(found=frozenset({place % 4, 9}) if place % 2 else answer.found)
        for place, answer in enumerate(one)
    ]
    assert set_overlap(one, one) == pytest.approx(1.0)
    assert set_overlap(one, half) == pytest.approx(0.7, abs=0.1)


def test_a_detector_that_finds_the_same_everywhere_explains_nothing() -> None:
    """A candidate's constant find is no overlap, however common the class is."""
    one = [Answer(found=frozenset({0} if place % 3 else {1})) for place in range(64)]
    constant = [Answer(found=frozenset({0}))] * 64
    overlap = set_overlap(one, constant)
    assert overlap is not None
    assert overlap < 0.1


def test_of_a_detector_that_finds_nothing_new_there_is_nothing_to_tell() -> None:
    """Where the incumbent finds the same in every sample the overlap is not known."""
    assert set_overlap([Answer(found=frozenset())] * 8, [Answer()] * 8) is None
    same = [Answer(found=frozenset({1}))] * 8
    assert set_overlap(same, same) is None


def test_time_explains_classes_that_come_one_after_the_other() -> None:
    """Sessions are found as such; classes that alternate, or noise, are not."""
    sessions = [place // 32 for place in range(256)]
    assert time_information(sessions) > 1.9
    assert time_information([place % 8 for place in range(256)]) < 0.05
    assert time_information([0] * 256) == 0.0


def test_ties_share_their_rank() -> None:
    """Spearman's correlation of series with ties is that of their mean ranks."""
    one, other = np.array([1.0, 1, 2, 3]), np.array([1.0, 1, 2, 3])
    assert rank_correlation(one, other) == pytest.approx(1.0)


def test_a_burst_that_is_sampled_seldom_counts_once_or_twice() -> None:
    """At a sampling ratio of a tenth, 20 to 30 bad samples are no handful of bursts."""
    asked = [(0, number) for number in range(0, 2560, 10)]
    for length in (20, 25, 30):
        for start in range(500, 510):
            bad = [(0, n) for _, n in asked if start <= n < start + length]
            assert 1 <= count_bursts(bad, asked) <= 2
    assert count_bursts(asked, asked) > 50


def test_samples_that_only_one_release_takes_are_left_out() -> None:
    """They are counted apart: tighter quality limits are no failures."""
    answer = Answer(index=1)
    pairs = [
        Pair(number=n, incumbent=answer, candidate=None, refused=True)
        for n in range(12)
    ]
    pairs += [
        Pair(number=100 + n, incumbent=answer, candidate=answer) for n in range(64)
    ]
    found = measure(pairs)
    assert (found.n, found.refused, found.candidate_failures) == (64, 12, 0)
