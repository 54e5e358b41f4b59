"""Which devices are judged: streams, wearers and pairs of releases.

Of the watch, people take turns at being trained on, at wearing and at being the
reference: *chosen* are three choices on which limits of the judge were chosen,
*unseen* four others, with nets of other seeds. Flights and weather are trained on the
first third of the year, devices live in the rest; no limit was chosen on them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tests.perf.evidence.candidates import as_it_is
from tests.perf.evidence.nets import Net, train_classifier
from tests.perf.evidence.public import SECTORS, flight_sources, weather_sources
from tests.perf.evidence.rules import Profile
from tests.perf.evidence.streams import (
    ACCELEROMETER,
    ORDERS,
    Floats,
    Order,
    Source,
    as_recorded,
    watch_sources,
)
from tests.perf.evidence.trial import Release
from trainer.tasks.watch import LABELS

PEOPLE = tuple(f"p{number:02d}" for number in range(1, 11))
ARMS = ("right", "left")
CHOSEN, UNSEEN = (0, 3, 6), (1, 4, 7, 9)
"""Where in the circle of people a split begins: four train, four wear, two are the
reference."""
SEEDS = 3
G = 9.80665
AGES = (70, 128, 256, 750, 4500, 18000)
"""Samples that a device has met: of a watch half a minute to two hours."""

Wearers = dict[tuple[str, str], Source]
Nets = dict[str, list[Net]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """A device and two releases; ``group`` names the pair of releases."""

    stream: str
    kind: str
    group: str
    order: Order
    source: Source
    incumbent: Release
    candidate: Release
    in_other_units: Release


def watch_setups(starts: Sequence[int], seed: int) -> list[Setup]:
    """Return devices on the watch's three orders: twins, repair, better releases."""
    wearers = watch_sources()
    found: list[Setup] = []
    for start in starts:
        people = [PEOPLE[(start + place) % len(PEOPLE)] for place in range(10)]
        nets = _watch_nets(wearers, people[:4], seed + 100 * start)
        held = np.concatenate([wearers[p, a].x for p in people[8:] for a in ARMS])
        for setup in _watch_pairs(wearers, people[4:8], nets, held):
            group = f"{start}-{setup.group}"
            found += [
                replace(setup, stream=name, order=order, group=group)
                for name, order in ORDERS.items()
            ]
    return found


def table_setups(seed: int) -> list[Setup]:
    """Return devices on flights and on the weather: twins and better releases."""
    weather, _ = weather_sources()
    return [
        *_table_setups("flights", flight_sources(), 3, seed),
        *_table_setups("weather", weather, SECTORS, seed),
    ]


def _watch_nets(wearers: Wearers, people: list[str], seed: int) -> Nets:
    right = [wearers[person, "right"] for person in people]
    both = [wearers[person, arm] for person in people for arm in ARMS]
    some, classes = both[:4], len(LABELS)
    seeds = range(seed, seed + SEEDS)
    return {
        "right": [train_classifier(right, classes, one) for one in seeds],
        "both": [train_classifier(both, classes, one) for one in seeds],
        "weak": [train_classifier(some, classes, one, epochs=8) for one in seeds],
    }


def _watch_pairs(
    wearers: Wearers, people: list[str], nets: Nets, held: Floats
) -> Iterator[Setup]:
    kinds = (
        ("twin", "both", "right"),
        ("repair", "right", "left"),
        ("better", "weak", "left"),
    )
    for kind, incumbent, arm in kinds:
        for one in range(SEEDS):
            pair = nets[incumbent][one], nets["both"][(one + 1) % SEEDS]
            for person in people:
                source = wearers[person, arm]
                other = source.x.copy()
                other[:, :ACCELEROMETER] *= G
                yield _setup(kind, f"{kind}-{one}", source, pair, (held, other))


def _table_setups(
    stream: str, sources: list[Source], classes: int, seed: int
) -> Iterator[Setup]:
    first = [_part(source, 0, 3) for source in sources]
    nets = [train_classifier(first, classes, seed + one, epochs=5) for one in range(3)]
    few = [_part(source, 0, 12) for source in sources]
    weak = [train_classifier(few, classes, seed + one, epochs=5) for one in range(3)]
    held = np.concatenate([source.x[::20] for source in first])
    for kind, incumbents in (("twin", nets), ("better", weak)):
        for one in range(SEEDS):
            pair = incumbents[one], nets[(one + 1) % SEEDS]
            for source in sources:
                rest = _part(source, 1, 3)
                found = _setup(
                    kind, f"{kind}-{one}", rest, pair, (held, rest.x * np.float32(G))
                )
                yield replace(found, stream=stream)


def _part(source: Source, first: int, parts: int) -> Source:
    """Return the first of ``parts``, or (``first`` = 1) all that follows it."""
    cut = len(source.x) // parts
    rows = slice(0, cut) if first == 0 else slice(cut, None)
    x, y = source.x[rows], source.y[rows]
    return replace(source, x=x, y=y, parts=((0, len(x)),))


def _setup(
    kind: str,
    group: str,
    source: Source,
    pair: tuple[Net, Net],
    rows: tuple[Floats, Floats],
) -> Setup:
    """``rows`` are the reference's samples, and the source's own in other units."""
    held, other = rows
    one, two = (_release(net, source.x, held) for net in pair)
    return Setup(
        stream="",
        kind=kind,
        group=group,
        order=as_recorded,
        source=source,
        incumbent=one,
        candidate=two,
        in_other_units=_release(pair[1], other, held),
    )


def _release(net: Net, x: Floats, held: Floats) -> Release:
    told = net.probabilities(held)
    counts = np.bincount(told.argmax(axis=1), minlength=told.shape[1])
    profile = Profile(
        counts=[int(count) for count in counts],
        confidence=float(told.max(axis=1).mean()),
    )
    return Release(probabilities=net.probabilities(x), profile=profile, recipe=as_it_is)
