"""The tables that ``scripts/bench evidence`` prints before its metrics."""

from collections.abc import Callable, Sequence

import click

from edge_agent.evidence.judge import Result
from hub.cli.output import print_table
from tests.perf.evidence.candidates import BLIND, FAILING, GARBAGE
from tests.perf.evidence.cases import (
    LESS_INFORMATION,
    OTHER_UNITS,
    Judged,
    stopped,
    undecided,
)
from tests.perf.evidence.kinds import Row
from tests.perf.evidence.latency import Slowness
from tests.perf.evidence.rollouts import SIZES, false_stops, least_failures
from tests.perf.evidence.setups import AGES
from tests.perf.evidence.tally import Share, share
from tests.perf.evidence.trial import RING

FULL, SMALL = "256 samples", "70 or 128"
LABELS_FIND = (*BLIND, OTHER_UNITS, LESS_INFORMATION)
"""What true labels find: the paired rule is blind to it, or nearly."""


def by_paired(one: Judged) -> bool:
    """Return whether the paired rule stops the release on this device."""
    return one.trial.paired is Result.FAIL


def by_old_rule(one: Judged) -> bool:
    """Return whether the rule as it was rolls it back."""
    return bool(one.trial.old)


def by_histogram(one: Judged) -> bool:
    """Return whether the rule on class histograms stops it."""
    return one.trial.histogram


RULES: dict[str, Callable[[Judged], bool]] = {
    "paired": by_paired,
    "as it was": by_old_rule,
    "histograms": by_histogram,
}


def found_by(judged: Sequence[Judged], rule: str) -> Share:
    """Return how many devices a rule stops the release on."""
    return share(RULES[rule](one) for one in judged)


def decidable(judged: Sequence[Judged]) -> list[Judged]:
    """Return the devices on which the paired rule was not inconclusive."""
    return [one for one in judged if one.trial.paired is not Result.INCONCLUSIVE]


def print_false_stops(title: str, judged: Sequence[Judged]) -> None:
    """Print false stops of equal and better releases by stream and kind, and by age."""
    rows = []
    for stream, kind in sorted({(one.stream, one.kind) for one in judged}):
        row = [one for one in judged if (one.stream, one.kind) == (stream, kind)]
        rows.append((stream, kind, *_told(row)))
    rows.append(("all", "", *_told(judged)))
    _print(f"{title}: false stops, by stream", ("stream", "release"), rows)
    aged = [
        (f"{age:,}", "", *_told([one for one in judged if one.age == age]))
        for age in AGES
    ]
    _print(f"{title}: false stops, by samples met", ("samples", ""), aged)


def print_rollouts(judged: Sequence[Judged]) -> None:
    """Print how many rollouts of a good release are stopped."""
    rows = []
    for size in SIZES:
        row: list[str] = [f"{size:,}", str(least_failures(size))]
        for rule in RULES.values():
            row += map(str, false_stops(judged, rule, size))
        rows.append(tuple(row))
    head = ["devices", "e-value stops at"]
    for name in RULES:
        head += [f"{name}: one failure", f"{name}: e-value"]
    click.echo("\nrollouts of good releases that are stopped")
    print_table(tuple(head), rows)


def print_bad(judged: Sequence[Judged]) -> None:
    """Print which broken releases are stopped, and what finds the others."""
    met = [one for one in judged if one.age in AGES]
    rows = []
    for kind in (*GARBAGE, *FAILING, *LABELS_FIND):
        row = [one for one in met if one.kind == kind]
        rows.append(
            (
                kind,
                str(stopped(row)),
                str(stopped(decidable(row))),
                f"{undecided(row).percent:.1f} %",
                f"{found_by(row, 'as it was').percent:.0f} %",
                f"{found_by(row, 'histograms').percent:.0f} %",
                "labels" if kind in LABELS_FIND else "paired test",
            )
        )
    click.echo("\nbroken releases stopped")
    head = ("release", "paired", "of decidable", "inconclusive", "as it was")
    print_table((*head, "histograms", "found by"), rows)
    click.echo("\nbroken releases stopped, by samples in the ring")
    print_table(
        ("release", FULL, SMALL),
        [
            (kind, str(full_rings(met, kind)), str(small_rings(met, kind)))
            for kind in (*GARBAGE, *FAILING)
        ],
    )


def full_rings(judged: Sequence[Judged], kind: str) -> Share:
    """Return how many were stopped of those with a full ring."""
    return stopped([o for o in judged if o.kind == kind and o.trial.n == RING])


def small_rings(judged: Sequence[Judged], kind: str) -> Share:
    """Return how many were stopped of those whose ring is not full."""
    return stopped([o for o in judged if o.kind == kind and o.trial.n < RING])


def print_latency(found: Sequence[Slowness]) -> None:
    """Print what was stopped for latency."""
    click.echo("\nlatency, the same samples answered in turns")
    print_table(
        ("cost", "cores", "ratio", "paired stops", "as it was stops"),
        [
            (
                one.cost,
                "busy" if one.is_busy else "as they are",
                f"{one.ratio:.2f}",
                str(one.stopped),
                str(one.stopped_before),
            )
            for one in found
        ],
    )


def print_kinds(found: Sequence[Row]) -> None:
    """Print what was stopped of models that tell no class."""
    click.echo("\nmodels that tell no class")
    print_table(
        ("model", "candidate", "paired stops", "inconclusive"),
        [(kind, name, str(a), str(b)) for kind, name, a, b in found],
    )


def _told(row: Sequence[Judged]) -> tuple[str, ...]:
    return (
        str(stopped(row)),
        f"{undecided(row).percent:.1f} %",
        str(found_by(row, "as it was")),
        f"{found_by(row, 'histograms').percent:.0f} %",
    )


def _print(title: str, first: tuple[str, str], rows: list[tuple[str, ...]]) -> None:
    click.echo(f"\n{title}")
    head = (*first, "paired", "inconclusive", "as it was", "histograms")
    print_table(head, rows)
