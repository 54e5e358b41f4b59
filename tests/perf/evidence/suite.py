"""``scripts/bench evidence``: what the paired test finds, and what it stops in error.

Further parts that belong to the same question are one line of :data:`PARTS` each.
"""

from collections.abc import Sequence
from pathlib import Path

import click

from tests.perf import gate, paired_time, ring_cost
from tests.perf.evidence import tables
from tests.perf.evidence.candidates import GARBAGE
from tests.perf.evidence.cases import SEED, Judged, judge_all, stopped, undecided
from tests.perf.evidence.kinds import judge_kinds
from tests.perf.evidence.latency import Slowness, measure_slowness
from tests.perf.evidence.rollouts import any_of, false_stops
from tests.perf.evidence.setups import AGES
from tests.perf.evidence.tables import by_paired, decidable, found_by, full_rings
from tests.perf.evidence.trial import RING
from tests.perf.report import Metric, Part, measure_parts

CACHE = Path(".cache").resolve() / "bench"
FEW_DEVICES = 10
"""Up to so many devices one failure stops a rollout."""


def measure(folder: Path) -> list[Metric]:
    """Measure every part; a scratch folder in ``folder`` takes their files."""
    return measure_parts(PARTS, folder)


def measure_rules(folder: Path) -> list[Metric]:
    """Judge thousands of devices offline by each rule."""
    click.echo(f"seed {SEED}; brackets: 95 % (Wilson)")
    good, chosen, bad = judge_all()
    tables.print_false_stops("unseen choices of people, flights, weather", good)
    tables.print_false_stops("people that limits were chosen on", chosen)
    tables.print_rollouts(good)
    tables.print_bad(bad)
    return [*_false_stop_metrics(good), *_bad_metrics(good, chosen, bad)]


def measure_latency(folder: Path) -> list[Metric]:
    """Judge slower models against a faster one, with idle and with busy cores."""
    found = measure_slowness(CACHE / "models")
    tables.print_latency(found)
    return [metric for one in found for metric in _latency_metrics(one)]


def measure_kinds(folder: Path) -> list[Metric]:
    """Judge regressions, embeddings and detectors."""
    found = judge_kinds()
    tables.print_kinds(found)
    return [
        Metric(name=f"{kind}_{name.replace(' ', '_')}", value=one.percent, unit="%")
        for kind, name, one, _ in found
    ]


PARTS: tuple[Part, ...] = (
    ("devices judged offline", measure_rules),
    ("regressions, embeddings, detectors", measure_kinds),
    ("latency", measure_latency),
    ("the gate of a stage", gate.measure),
    ("what the ring costs", ring_cost.measure),
    ("how long a paired test takes", paired_time.measure),
)


def _false_stop_metrics(good: Sequence[Judged]) -> list[Metric]:
    found = stopped(good)
    metrics = [
        Metric(name="false_stop", value=found.percent, unit="%", at_most=0.1),
        Metric(name="false_stop_upper", value=found.interval[1], unit="%", at_most=0.3),
        Metric(name="devices_judged", value=found.n, unit="devices"),
        Metric(
            name="false_stop_before",
            value=found_by(good, "as it was").percent,
            unit="%",
        ),
        Metric(
            name="false_stop_histograms",
            value=found_by(good, "histograms").percent,
            unit="%",
        ),
        Metric(name="good_inconclusive", value=undecided(good).percent, unit="%"),
    ]
    for size in (8, 50, 200, 1000):
        first, weighed = false_stops(good, by_paired, size)
        one = first if size <= FEW_DEVICES else weighed
        name = f"false_stop_rollout_{size}"
        metrics.append(Metric(name=name, value=one.percent, unit="%", at_most=1.0))
    computed = any_of(1000, found.percent)
    metrics.append(
        Metric(name="any_failure_of_1000_computed", value=computed, unit="%")
    )
    return metrics


def _bad_metrics(
    good: Sequence[Judged], chosen: Sequence[Judged], bad: Sequence[Judged]
) -> list[Metric]:
    met = [one for one in bad if one.age in AGES]
    garbage = [one for one in met if one.kind in GARBAGE]
    blind = sum(one.trial.blind for one in (*good, *chosen, *bad))
    return [
        Metric(
            name="garbage_stopped",
            value=stopped(decidable(garbage)).percent,
            unit="% of decidable",
            at_least=99.0,
        ),
        Metric(name="garbage_inconclusive", value=undecided(garbage).percent, unit="%"),
        Metric(
            name="garbage_stopped_full_ring",
            value=stopped([one for one in garbage if one.trial.n == RING]).percent,
            unit="%",
        ),
        Metric(
            name="nan_5_stopped",
            value=full_rings(met, "NaN on 5 %").percent,
            unit="% of full rings",
            at_least=98.0,
        ),
        Metric(
            name="nan_5_stopped_small_ring",
            value=tables.small_rings(met, "NaN on 5 %").percent,
            unit="%",
        ),
        Metric(name="passed_without_evidence", value=blind, unit="devices", at_most=0),
    ]


def _latency_metrics(one: Slowness) -> list[Metric]:
    name = f"latency_{one.cost}_{'busy' if one.is_busy else 'quiet'}"
    return [
        Metric(
            name=f"{name}_stopped",
            value=one.stopped.percent,
            unit="%",
            at_most=1.0 if one.cost in {"1x", "1.5x"} else None,
            at_least=99.0 if one.cost == "3x" else None,
        ),
        Metric(name=f"{name}_ratio", value=one.ratio, unit="x"),
    ]
