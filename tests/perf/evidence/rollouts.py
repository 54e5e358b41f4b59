"""From devices to rollouts: how often a good release is stopped for its whole fleet.

A rollout has one incumbent and one candidate, so its devices are drawn from those that
were judged with this pair of releases. Two rules: one failure stops it, and the
one-sided e-value of :mod:`hub.rollout.evalue`.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from hub.rollout.evalue import evalue, threshold
from tests.perf.evidence.cases import Judged
from tests.perf.evidence.tally import Share

ROLLOUTS = 1000
SIZES = (8, 50, 200, 1000)
SEED = 77

Stops = Callable[[Judged], bool]


def false_stops(
    judged: Sequence[Judged], stops: Stops, size: int
) -> tuple[Share, Share]:
    """Return rollouts of ``size`` that one failure stops, and that the e-value does."""
    rng = np.random.default_rng(SEED + size)
    groups: dict[str, list[bool]] = {}
    for one in judged:
        groups.setdefault(f"{one.group}/{one.kind}", []).append(stops(one))
    rows = [np.array(row) for row in groups.values()]
    first, weighed = 0, 0
    limit = least_failures(size)
    for _ in range(ROLLOUTS):
        failed = int(rng.choice(rows[int(rng.integers(len(rows)))], size).sum())
        first += failed > 0
        weighed += failed >= limit
    return Share(k=first, n=ROLLOUTS), Share(k=weighed, n=ROLLOUTS)


def least_failures(size: int) -> int:
    """Return how many failures of ``size`` devices make the e-value stop."""
    return next(k for k in range(size + 1) if evalue(k, size) >= threshold())


def any_of(size: int, percent: float) -> float:
    """Return the chance (percent) that at least one of ``size`` devices fails."""
    return 100 * -math.expm1(size * math.log1p(-min(percent / 100, 1 - 1e-12)))
