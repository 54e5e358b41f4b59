"""Late labels in the gate, simulated: equal releases and one ten points worse.

A device's samples are right or wrong in runs (``episode`` samples on end), and devices
differ by 2 points. Beside the bounds of :mod:`hub.rollout.label_pairs` stands the rule
that was here before: pooled accuracy with an assumed design effect of 5.
"""

import math
from collections import Counter

import click
import numpy as np
from numpy.typing import NDArray

from hub.cli.output import print_table
from hub.rollout.label_pairs import bound_loss, measure_loss
from tests.perf.report import Metric

SEED = 11
_FLEETS = ((8, 300), (8, 100), (2, 20))
_LOSSES = (0.0, 0.10)
_EPISODES = (1, 5, 15)
_ROLLOUTS = 400
_DIFFER = 0.25
"""Share of samples on which the two releases are not both right or both wrong."""
_SPREAD = 0.02
_LIMIT = 0.05
_ABORT = 0.03
_OLD_LIMIT, _OLD_EFFECT, _OLD_LABELS, _Z = 0.10, 5.0, 40, 1.645

Pairs = tuple[NDArray[np.int8], NDArray[np.int8]]
"""Whether the incumbent, and the candidate, were right; shape (n,)."""


def measure_labels() -> list[Metric]:
    """Simulate and print the table; return what has a target."""
    rows: list[tuple[object, ...]] = []
    metrics: list[Metric] = []
    for devices, labels in _FLEETS:
        for episode in _EPISODES:
            for loss in _LOSSES:
                new, old = _simulate(devices, labels, episode, loss)
                case = (f"{devices} x {labels}", episode, f"{100 * loss:.0f}")
                rows.append((*case, _shares(new), _shares(old)))
                if labels == _FLEETS[0][1]:
                    metrics.append(_metric(new, episode, loss))
    click.echo(f"rollouts by labels, n = {_ROLLOUTS} each, seed {SEED}")
    print_table(
        ("labels", "run", "points lost", "promoted/held/aborted/none", "as it was"),
        rows,
    )
    return metrics


def _simulate(
    devices: int, labels: int, episode: int, loss: float
) -> tuple[Counter[str], Counter[str]]:
    draw = np.random.default_rng([SEED, devices, labels, episode, round(100 * loss)])
    new: Counter[str] = Counter()
    old: Counter[str] = Counter()
    for _ in range(_ROLLOUTS):
        fleet = [_pairs(draw, labels, episode, loss) for _ in range(devices)]
        new[_decide(fleet)] += 1
        old[_decide_as_before(fleet)] += 1
    return new, old


def _pairs(draw: np.random.Generator, labels: int, episode: int, loss: float) -> Pairs:
    mine = min(max(loss + _SPREAD * draw.standard_normal(), -_DIFFER), _DIFFER)
    lost, gained = (_DIFFER + mine) / 2, (_DIFFER - mine) / 2
    same = 1 - _DIFFER
    kinds = draw.choice(
        4, size=labels // episode + 1, p=[lost, gained, 0.8 * same, 0.2 * same]
    )
    runs = np.repeat(kinds, draw.geometric(1 / episode, size=len(kinds)))
    while len(runs) < labels:
        runs = np.concatenate([runs, runs])
    kind = runs[:labels]
    incumbent = np.isin(kind, (0, 2)).astype(np.int8)
    candidate = np.isin(kind, (1, 2)).astype(np.int8)
    return incumbent, candidate


def _decide(fleet: list[Pairs]) -> str:
    losses = [
        measure_loss(str(place), (incumbent - candidate).tolist())
        for place, (incumbent, candidate) in enumerate(fleet)
    ]
    bounds = bound_loss(losses, _LIMIT)
    if bounds is None:
        return "none"
    if bounds.lower > _ABORT:
        return "aborted"
    return "promoted" if bounds.upper < _LIMIT else "held"


def _decide_as_before(fleet: list[Pairs]) -> str:
    incumbent = float(np.concatenate([one for one, _ in fleet]).mean())
    candidate = float(np.concatenate([one for _, one in fleet]).mean())
    n = sum(len(one) for one, _ in fleet)
    if n < _OLD_LABELS:
        return "held"
    variance = (candidate * (1 - candidate) + incumbent * (1 - incumbent)) / n
    drop = incumbent - candidate
    if drop - _Z * math.sqrt(_OLD_EFFECT * variance) > _OLD_LIMIT:
        return "aborted"
    return "held" if drop > _OLD_LIMIT else "promoted"


def _shares(found: Counter[str]) -> str:
    names = ("promoted", "held", "aborted", "none")
    return " / ".join(f"{found[name] / _ROLLOUTS:.1%}" for name in names)


def _metric(found: Counter[str], episode: int, loss: float) -> Metric:
    what, wrong = ("10 points worse", "promoted") if loss else ("equal", "aborted")
    return Metric(
        name=f"{what}, {wrong} at 8 x 300 labels, in runs of {episode}",
        value=100 * found[wrong] / _ROLLOUTS,
        unit="%",
        at_most=1.0,
    )
