"""Thousands of devices judged offline; who was stopped, by which rule.

Everything is drawn from generators with fixed seeds, so a run gives the figures of the
last one, whatever the machine.
"""

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from zlib import crc32

import numpy as np

from edge_agent.evidence.judge import Result
from tests.perf.evidence.candidates import (
    BLIND,
    FAILING,
    GARBAGE,
    Recipe,
    as_it_is,
    two_classes,
)
from tests.perf.evidence.setups import (
    AGES,
    CHOSEN,
    UNSEEN,
    Setup,
    table_setups,
    watch_setups,
)
from tests.perf.evidence.tally import Share, share
from tests.perf.evidence.trial import Moment, Trial, try_release

SEED = 20260
GOOD_EACH = 600
"""Devices a stream, kind of good release and rule."""
BAD_EACH = 240
CHOSEN_EACH = 240
LESS_INFORMATION = "answers two of its classes only"
OTHER_UNITS = "wrong units (x 9.81)"
BAD: Mapping[str, Recipe] = {
    **GARBAGE,
    LESS_INFORMATION: two_classes,
    **FAILING,
    **BLIND,
    OTHER_UNITS: as_it_is,
}
SHORT_AGES = (0, 20, 63)
"""Rings with too little in them."""

Prepare = Callable[[], list[Setup]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One judged device."""

    stream: str
    kind: str
    group: str
    age: int
    trial: Trial


def stopped(found: Sequence[Judged]) -> Share:
    """Return how many the paired rule stopped."""
    return share(one.trial.paired is Result.FAIL for one in found)


def undecided(found: Sequence[Judged]) -> Share:
    """Return on how many the paired rule was inconclusive."""
    return share(one.trial.paired is Result.INCONCLUSIVE for one in found)


def judge_all() -> tuple[list[Judged], list[Judged], list[Judged]]:
    """Return good releases on unseen, good on chosen, and bad ones on unseen devices.

    The watch and the two tables are judged beside each other, in two processes.
    """
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        watch, tables = pool.map(_judge_part, ("watch", "tables"), chunksize=1)
    return watch[0] + tables[0], watch[1], watch[2] + tables[2]


def _judge_part(part: str) -> tuple[list[Judged], list[Judged], list[Judged]]:
    if part == "watch":
        unseen, chosen = watch_setups(UNSEEN, SEED), watch_setups(CHOSEN, SEED + 50)
    else:
        unseen, chosen = table_setups(SEED), []
    return (
        judge_good(unseen, GOOD_EACH, SEED),
        judge_good(chosen, CHOSEN_EACH, SEED + 1),
        judge_bad(unseen, BAD_EACH, SEED + 2),
    )


def judge_good(setups: Sequence[Setup], each: int, seed: int) -> list[Judged]:
    """Judge releases that are as good as the incumbent or better, ``each`` a row."""
    return [
        one
        for (stream, kind), row in _rows(setups).items()
        for one in _judge(row, each, _seed(seed, stream, kind))
    ]


def judge_bad(setups: Sequence[Setup], each: int, seed: int) -> list[Judged]:
    """Judge what was broken of equally good releases, ``each`` a row; some early."""
    found: list[Judged] = []
    for (stream, kind), row in _rows(setups).items():
        if kind != "twin":
            continue
        for name, recipe in BAD.items():
            broken = [_broken(setup, name, recipe) for setup in row]
            found += _judge(broken, each, _seed(seed, stream, name))
            if name in GARBAGE:
                early = _seed(seed + 1, stream, name)
                found += _judge(broken, each // 8, early, SHORT_AGES)
    return found


def _broken(setup: Setup, name: str, recipe: Recipe) -> Setup:
    good = setup.in_other_units if name == OTHER_UNITS else setup.candidate
    return replace(setup, kind=name, candidate=replace(good, recipe=recipe))


def _judge(
    setups: Sequence[Setup], each: int, seed: int, ages: Sequence[int] = AGES
) -> list[Judged]:
    rng = np.random.default_rng(seed)
    found: list[Judged] = []
    for place in range(each):
        setup = setups[int(rng.integers(len(setups)))]
        age = ages[place % len(ages)]
        trial = try_release(
            setup.source,
            (setup.incumbent, setup.candidate),
            Moment(order=setup.order, age=age),
            rng,
        )
        found.append(
            Judged(
                stream=setup.stream,
                kind=setup.kind,
                group=f"{setup.stream}/{setup.group}",
                age=age,
                trial=trial,
            )
        )
    return found


def _rows(setups: Sequence[Setup]) -> dict[tuple[str, str], list[Setup]]:
    found: dict[tuple[str, str], list[Setup]] = {}
    for setup in setups:
        found.setdefault((setup.stream, setup.kind), []).append(setup)
    return found


def _seed(seed: int, *names: str) -> int:
    return seed + crc32("/".join(names).encode())
