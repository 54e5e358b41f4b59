"""Figures of pairs: what two releases answered to the same samples. Pure, NumPy only.

A :class:`Pair` is one sample; ``measure`` turns the pairs of one device into
:class:`~edge_agent.evidence.judge.PairedFigures`. Used by the paired test over the
ring, by the live shadow, and by ``scripts/bench evidence``.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from edge_agent.evidence.judge import PairedFigures, Statistic, entropy_of_counts

BURST_SAMPLES = 10
"""Failures within so many consecutive samples of a stream count once: what makes a
model fail (a spike, a glare) lasts longer than a sample."""
BURST_ASKED = 3
"""A burst that few of its samples were asked of counts again after so many of them."""
EMBEDDING_ELEMENTS = 16
"""From so many numbers on, an answer is an embedding: its axes mean nothing alone."""
MAX_DISTANCES = 64
"""Embeddings compared pairwise: 2,016 distances."""
TIME_BLOCKS = 8
"""Consecutive parts of the samples between which the incumbent's classes may change."""
SAME_FINDS = 0.6
"""Mean overlap of a detector's finds in different samples from which they are the
same."""
SHIFTS = 7
"""By so many distances finds of different samples are compared."""
DETECTED = 0.5
"""From this score on a detector has found something."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one release answered to one sample.

    ``index`` is the class (-1: the model tells none), ``values`` its numbers where it
    tells no class, shape ``(elements,)``; ``found`` the classes that a detector found.
    """

    index: int = -1
    confidence: float = 0.0
    latency_us: float = 0.0
    values: Floats | None = None
    found: frozenset[int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One sample; ``None`` is a release that failed on it.

    ``number`` is the sample's place in its ``stream``: bursts of failures are found by
    it. ``refused``: the candidate does not take the sample, for its quality.
    """

    number: int
    incumbent: Answer | None
    candidate: Answer | None
    stream: int = 0
    refused: bool = False


@dataclass(slots=True)
class _Both:
    """Samples that both releases answered."""

    incumbent: list[Answer] = field(default_factory=list)
    candidate: list[Answer] = field(default_factory=list)


def measure(pairs: Sequence[Pair], *, expected_entropy: float = 0.0) -> PairedFigures:
    """Return the figures of pairs; samples that both failed on say nothing.

    Args:
        pairs: The samples, oldest first.
        expected_entropy: How much the incumbent's class varies in its reference
            profile, in nats
            (:func:`~edge_agent.evidence.judge.entropy_of_counts`); 0 if not known.
    """
    refused = sum(pair.refused and pair.incumbent is not None for pair in pairs)
    pairs = [pair for pair in pairs if not pair.refused]
    both = _Both()
    for pair in pairs:
        if pair.incumbent is not None and pair.candidate is not None:
            both.incumbent.append(pair.incumbent)
            both.candidate.append(pair.candidate)
    statistic, association, entropy = associate(both.incumbent, both.candidate)
    return PairedFigures(
        n=sum(bool(p.incumbent or p.candidate) for p in pairs),
        refused=refused,
        candidate_failures=count_bursts(
            ((p.stream, p.number) for p in pairs if p.incumbent and not p.candidate),
            ((p.stream, p.number) for p in pairs),
        ),
        incumbent_failures=count_bursts(
            ((p.stream, p.number) for p in pairs if p.candidate and not p.incumbent),
            ((p.stream, p.number) for p in pairs),
        ),
        statistic=statistic,
        association=association,
        entropy=entropy,
        time_information=None
        if entropy is None
        else time_information([answer.index for answer in both.incumbent]),
        expected_entropy=expected_entropy,
        confidence_drop=_confidence_drop(both),
        latency_ratio=_latency_ratio(both),
    )


def count_bursts(
    failures: Iterable[tuple[int, int]], asked: Iterable[tuple[int, int]] = ()
) -> int:
    """Count failures by (stream, number), a burst once.

    Two failures are of one burst where at most :data:`BURST_SAMPLES` samples of their
    stream lie between them, or they are neighbours among the samples that were
    ``asked`` and no further apart than twice their usual gap. A burst counts again
    after :data:`BURST_SAMPLES` samples, or as many as three usual gaps: a release that
    fails on every sample is many bursts.
    """
    failed = sorted(failures)
    places = {one: place for place, one in enumerate(sorted({*asked, *failed}))}
    usual = _usual_gap(list(places))
    span = max(BURST_SAMPLES, BURST_ASKED * usual)
    count, first, last = 0, (0, 0), (-1, 0)
    for one in failed:
        gap = one[1] - last[1]
        near = gap <= BURST_SAMPLES or (
            gap <= 2 * usual and places[one] == places.get(last, -1) + 1
        )
        if one[0] != last[0] or not near or one[1] - first[1] >= span:
            count, first = count + 1, one
        last = one
    return count


def _usual_gap(asked: Sequence[tuple[int, int]]) -> int:
    """Return the median distance of consecutive samples that were asked."""
    gaps = sorted(b[1] - a[1] for a, b in pairwise(asked) if a[0] == b[0])
    return min(gaps[len(gaps) // 2], BURST_SAMPLES) if gaps else 1


def associate(
    incumbent: Sequence[Answer], candidate: Sequence[Answer]
) -> tuple[Statistic, float | None, float | None]:
    """Return how much the candidate's answers tell of the incumbent's.

    Returns:
        The statistic, its value, and the incumbent's entropy in nats (classes only).
    """
    if not incumbent:
        return Statistic.NONE, None, None
    if incumbent[0].found is not None:
        return Statistic.SET_OVERLAP, set_overlap(incumbent, candidate), None
    if incumbent[0].values is not None:
        return (*_associate_values(incumbent, candidate), None)
    one = [answer.index for answer in incumbent]
    other = [answer.index for answer in candidate]
    return Statistic.THEIL_U, theil_u(one, other), entropy_of(one)


def entropy_of(classes: Sequence[int]) -> float:
    """Return the entropy of observed classes in nats (plug-in estimate)."""
    return entropy_of_counts(list(Counter(classes).values()))


def time_information(classes: Sequence[int]) -> float:
    """Return how many nats of the class the time explains; ``classes`` oldest first.

    The mutual information of the class and of which eighth of the samples it is in,
    corrected as in :func:`theil_u`. About 0 where classes alternate all the time, or
    where all samples are of one kind, however much a model wavers on them.
    """
    n = len(classes)
    parts = [place * TIME_BLOCKS // n for place in range(n)]
    return _mutual_information(parts, classes)


def theil_u(incumbent: Sequence[int], candidate: Sequence[int]) -> float | None:
    """Return Theil's uncertainty coefficient of the incumbent given the candidate.

    The mutual information of both classes over the incumbent's entropy, so 1 where one
    class follows from the other whatever they are called, 0 where the candidate's tells
    nothing. Mutual information of ``n`` pairs is biased upwards by about
    ``(r - 1)(c - 1) / 2n`` with ``r`` and ``c`` classes seen (Miller and Madow, 1955),
    which is taken off. ``None`` where the incumbent only ever answers one class.
    """
    n = len(incumbent)
    h = entropy_of(incumbent) if n else 0.0
    if h <= 0:
        return None
    return min(max(_mutual_information(incumbent, candidate) / h, 0.0), 1.0)


def _mutual_information(one: Sequence[int], other: Sequence[int]) -> float:
    n = len(one)
    joint = Counter(zip(one, other, strict=True))
    rows, columns = Counter(one), Counter(other)
    mutual = sum(
        count / n * math.log(count * n / (rows[a] * columns[b]))
        for (a, b), count in joint.items()
    )
    return mutual - (len(rows) - 1) * (len(columns) - 1) / (2 * n)


def rank_correlation(one: Floats, other: Floats) -> float | None:
    """Return Spearman's rank correlation of two series of shape ``(n,)``.

    ``None`` where the first does not vary; 0 where only the second does not.
    """
    if not np.ptp(one) > 0:
        return None
    if not np.ptp(other) > 0:
        return 0.0
    return float(np.corrcoef(_ranks(one), _ranks(other))[0, 1])


def distance_correlation(one: Floats, other: Floats) -> float | None:
    """Return Spearman's correlation of pairwise distances, each ``(n, elements)``.

    Turning or scaling an embedding changes nothing (Kriegeskorte et al., 2008:
    representational similarity).
    """
    places = np.linspace(0, len(one) - 1, min(len(one), MAX_DISTANCES)).astype(int)
    if len(places) < 3:  # noqa: PLR2004 - of one distance nothing is told
        return None
    return rank_correlation(_distances(one[places]), _distances(other[places]))


def set_overlap(
    incumbent: Sequence[Answer], candidate: Sequence[Answer]
) -> float | None:
    """Return how far the classes found in a sample overlap beyond chance.

    The mean Jaccard index of the two sets of a sample, less that of sets of different
    samples, over what is left to 1 (as Cohen's kappa, 1960): 1 where both always find
    the same, 0 where the candidate's finds belong to any sample as well. ``None`` where
    the incumbent finds nearly the same in every sample.
    """
    one = [answer.found or frozenset() for answer in incumbent]
    other = [answer.found or frozenset() for answer in candidate]
    if not any(one) or _chance_overlap(one, one) > SAME_FINDS:
        return None
    observed = float(np.mean([_jaccard(a, b) for a, b in zip(one, other, strict=True)]))
    chance = _chance_overlap(one, other)
    # Below chance it is unbounded: finds that are never those of their own sample.
    return max((observed - chance) / (1.0 - chance), -1.0) if chance < 1.0 else 0.0


def _jaccard(one: frozenset[int], other: frozenset[int]) -> float:
    """Return the share of what both found; 1 where neither found anything."""
    union = len(one | other)
    return len(one & other) / union if union else 1.0


def _chance_overlap(
    one: Sequence[frozenset[int]], other: Sequence[frozenset[int]]
) -> float:
    """Return the mean Jaccard index of sets of different samples, by a few shifts."""
    n = len(one)
    # Odd distances: streams may repeat themselves after two, four, eight samples.
    steps = {n * part // (SHIFTS + 1) | 1 for part in range(1, SHIFTS + 1)}
    pairs = [(a, other[(i + step) % n]) for step in steps for i, a in enumerate(one)]
    return float(np.mean([_jaccard(a, b) for a, b in pairs]))


def _associate_values(
    incumbent: Sequence[Answer], candidate: Sequence[Answer]
) -> tuple[Statistic, float | None]:
    one, other = _stack(incumbent), _stack(candidate)
    if one is None or other is None or one.shape != other.shape:
        return Statistic.RANK_CORRELATION, None if one is None else 0.0
    if one.shape[1] >= EMBEDDING_ELEMENTS:
        return Statistic.DISTANCE_CORRELATION, distance_correlation(one, other)
    found = [rank_correlation(a, b) for a, b in zip(one.T, other.T, strict=True)]
    known = [value for value in found if value is not None]
    return Statistic.RANK_CORRELATION, max(known) if known else None


def _stack(answers: Sequence[Answer]) -> Floats | None:
    """Return values as ``(n, elements)``; ``None`` where their sizes differ."""
    values = [a.values for a in answers if a.values is not None]
    if len({len(value) for value in values}) != 1:
        return None
    return np.stack(values).astype(np.float64)


def _ranks(series: Floats) -> Floats:
    """Return ranks, ties sharing their mean."""
    _, place, counts = np.unique(series, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return ((ends - (counts - 1) / 2.0)[place]).astype(np.float64)


def _distances(rows: Floats) -> Floats:
    # |a|² + |b|² - 2ab: no array of (n, n, elements). The mean is taken off first, as
    # large numbers with small differences would cancel.
    rows = rows - rows.mean(axis=0)
    squares = (rows**2).sum(axis=1)
    squared = squares[:, np.newaxis] + squares[np.newaxis] - 2.0 * (rows @ rows.T)
    distances = np.sqrt(np.clip(squared, 0.0, None))
    upper: Floats = distances[np.triu_indices(len(rows), 1)]
    return upper


def _confidence_drop(both: _Both) -> float | None:
    if not both.incumbent or both.incumbent[0].index < 0:
        return None
    one = np.mean([a.confidence for a in both.incumbent])
    other = np.mean([a.confidence for a in both.candidate])
    return float(one - other)


def _latency_ratio(both: _Both) -> float | None:
    ratios = [
        other.latency_us / one.latency_us
        for one, other in zip(both.incumbent, both.candidate, strict=True)
        if one.latency_us > 0
    ]
    return float(np.median(ratios)) if ratios else None
