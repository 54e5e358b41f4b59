"""Models that tell no class: operating characteristics of their statistics.

*Regression*: the wind an hour later, at three stations in the order of 2013.
*Embedding*: the hidden layer (24 numbers) of the watch nets; *detector*: the classes to
which they give at least a fifth, both on wearers doing one exercise at a time. Twins
are trained from two seeds. Limits: :data:`edge_agent.evidence.judge.ASSOCIATION_MIN`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from edge_agent.evidence.judge import Result, decide_paired
from edge_agent.evidence.statistics import Answer, Pair, measure
from tests.perf.evidence.nets import (
    Doubles,
    Net,
    softmax,
    train_classifier,
    train_regression,
)
from tests.perf.evidence.public import weather_sources
from tests.perf.evidence.rules import POLICY
from tests.perf.evidence.setups import AGES, ARMS, PEOPLE, SEEDS
from tests.perf.evidence.streams import (
    Order,
    Source,
    as_recorded,
    long_sessions,
    watch_sources,
)
from tests.perf.evidence.tally import Share
from tests.perf.evidence.trial import choose_ring
from trainer.tasks.watch import LABELS

SEED = 31
EACH = 360
FOUND = 0.2

Tell = Callable[[Doubles], list[Answer]]
Row = tuple[str, str, Share, Share]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What two nets make of a source's rows, and how that is told."""

    name: str
    order: Order
    tell: Tell
    sources: list[Source]
    outputs: list[tuple[Doubles, Doubles]]


def tell_values(rows: Doubles) -> list[Answer]:
    """Return numbers as answers."""
    return [Answer(values=row) for row in rows]


def tell_found(rows: Doubles) -> list[Answer]:
    """Return the classes with at least a fifth as what a detector found."""
    shares = softmax(rows)
    return [Answer(found=frozenset(np.flatnonzero(row >= FOUND))) for row in shares]


def judge_kinds() -> list[Row]:
    """Return kind, candidate, share stopped and share inconclusive."""
    found: list[Row] = []
    for kind in (_regression(), *_of_watch()):
        for name, change in _CHANGES.items():
            results = list(_judge(kind, change))
            n = len(results)
            found.append(
                (
                    kind.name,
                    name,
                    Share(k=results.count(Result.FAIL), n=n),
                    Share(k=results.count(Result.INCONCLUSIVE), n=n),
                )
            )
    return found


def _twin(rows: Doubles, rng: np.random.Generator) -> Doubles:
    return rows


def _constant(rows: Doubles, rng: np.random.Generator) -> Doubles:
    return np.broadcast_to(rows[int(rng.integers(len(rows)))], rows.shape)


def _random(rows: Doubles, rng: np.random.Generator) -> Doubles:
    return rng.normal(rows.mean(0), rows.std(0) + 1e-9, rows.shape)


def _shuffled(rows: Doubles, rng: np.random.Generator) -> Doubles:
    return rows[rng.permutation(len(rows))]


_CHANGES: Mapping[str, Callable[[Doubles, np.random.Generator], Doubles]] = {
    "equal twin": _twin,
    "constant": _constant,
    "random": _random,
    "answers of other samples": _shuffled,
}


def _judge(
    kind: Kind, change: Callable[[Doubles, np.random.Generator], Doubles]
) -> Iterator[Result]:
    rng = np.random.default_rng(SEED)
    for place in range(EACH):
        which = int(rng.integers(len(kind.sources)))
        source, (one, other) = kind.sources[which], kind.outputs[which]
        rows = kind.order(source, AGES[place % len(AGES)], rng)
        rows = rows[choose_ring(len(rows), rng)]
        told = zip(
            rows.tolist(),
            kind.tell(one[rows]),
            kind.tell(change(other[rows], rng)),
            strict=True,
        )
        pairs = [Pair(number=n, incumbent=a, candidate=b) for n, a, b in told]
        yield decide_paired(measure(pairs), POLICY).result


def _regression() -> Kind:
    sources, speeds = weather_sources()
    thirds = [len(source.x) // 3 for source in sources]
    x = np.concatenate([s.x[:end] for s, end in zip(sources, thirds, strict=True)])
    y = np.concatenate([y[:end] for y, end in zip(speeds, thirds, strict=True)])
    nets = [train_regression(x, y, SEED + one) for one in range(SEEDS)]
    pairs = [
        (source, nets[one].raw(source.x), nets[(one + 1) % SEEDS].raw(source.x))
        for source in sources
        for one in range(SEEDS)
    ]
    return _kind("regression", (as_recorded, tell_values), pairs)


def _of_watch() -> Iterator[Kind]:
    wearers = watch_sources()
    trained = [wearers[person, arm] for person in PEOPLE[4:8] for arm in ARMS]
    nets = [train_classifier(trained, len(LABELS), SEED + n) for n in range(SEEDS)]
    worn = [wearers[person, "right"] for person in (*PEOPLE[:4], *PEOPLE[8:])]

    def pairs(of: Callable[[Net, Source], Doubles]) -> Pairs:
        return [
            (source, of(nets[one], source), of(nets[(one + 1) % SEEDS], source))
            for source in worn
            for one in range(SEEDS)
        ]

    hidden = pairs(lambda net, source: net.hidden(source.x))
    yield _kind("embedding", (long_sessions, tell_values), hidden)
    raw = pairs(lambda net, source: net.raw(source.x))
    yield _kind("detector", (long_sessions, tell_found), raw)


Pairs = list[tuple[Source, Doubles, Doubles]]


def _kind(name: str, how: tuple[Order, Tell], pairs: Pairs) -> Kind:
    return Kind(
        name=name,
        order=how[0],
        tell=how[1],
        sources=[source for source, _, _ in pairs],
        outputs=[(one, other) for _, one, other in pairs],
    )
