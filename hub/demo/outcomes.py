"""What became of the runs of a series, and what they come to together. Pure.

``demo-repeat.json`` holds both; :mod:`hub.demo.repeat` collects and writes it.
"""

from collections.abc import Callable, Sequence
from statistics import median

from edge_agent.wire.types import Message
from hub.demo.report import Report
from hub.monitor.performance import score_accuracy

Accuracies = dict[str, dict[str, float | None]]


class Outcome(Message, frozen=True, kw_only=True):
    """One run. ``failed_act`` and ``why`` are empty if it went well.

    ``lost`` and ``twice`` count records; ``lost`` is ``None`` where they could not be
    counted. ``folder`` is what was kept of a run that failed.
    """

    seed: int
    loaded: bool
    ok: bool
    failed_act: str = ""
    why: str = ""
    duration_s: float
    accuracy: Accuracies = {}
    alert_to_release_s: float | None = None
    bad_release: str = ""
    bad_release_codes: dict[str, int] = {}
    bad_release_devices: list[str] = []
    good_release_stopped: bool = False
    lost: int | None = None
    twice: int = 0
    folder: str = ""


class Spread(Message, frozen=True, kw_only=True):
    """Median and range of a figure over the ``n`` runs that have it."""

    n: int
    median: float
    low: float
    high: float


class Summary(Message, frozen=True, kw_only=True):
    """What runs come to; ``rate_low`` and ``_high`` are Wilson's 95 % interval."""

    runs: int
    passed: int
    rate: float
    rate_low: float
    rate_high: float
    bad_release_beyond_two_devices: int
    good_releases_stopped: int
    figures: dict[str, Spread]


class RepeatReport(Message, frozen=True, kw_only=True):
    """``demo-repeat.json``; ``wanted`` runs were asked for, ``outcomes`` ended."""

    ok: bool
    sensor: str
    wanted: int
    outcomes: list[Outcome]
    summaries: dict[str, Summary]


CANARY = 2
"""Devices of the demo's canary: a quarter of eight."""

FIGURES: dict[str, Callable[[Outcome], float | None]] = {
    "duration_s": lambda run: run.duration_s,
    "left_before": lambda run: accuracy_of(run, 1, "left"),
    "left_after": lambda run: accuracy_of(run, 2, "left"),
    "right_before": lambda run: accuracy_of(run, 1, "right"),
    "right_after": lambda run: accuracy_of(run, 2, "right"),
    "alert_to_release_s": lambda run: run.alert_to_release_s,
}


def accuracy_of(run: Outcome, release: int, arm: str) -> float | None:
    """Return what a release was worth on one arm, ``None`` if it was not measured."""
    return run.accuracy.get(f"release_{release}", {}).get(arm)


def read_outcome(report: Report, *, loaded: bool, folder: str) -> Outcome:
    """Return what a run's report says; ``folder`` is named where the run failed."""
    failed = next((act for act in report.acts if not act.ok), None)
    records = report.records
    return Outcome(
        seed=report.seed,
        loaded=loaded,
        ok=report.ok,
        failed_act=failed.name if failed else "",
        why=failed.line if failed else "",
        duration_s=report.duration_s,
        accuracy=report.accuracy,
        alert_to_release_s=report.alert_to_release_s,
        bad_release=report.bad_release,
        bad_release_codes=report.bad_release_codes,
        bad_release_devices=report.bad_release_devices,
        good_release_stopped=report.good_release_stopped,
        lost=records.produced - records.received if records.produced else None,
        twice=records.duplicates,
        folder="" if report.ok else folder,
    )


def summarize(runs: Sequence[Outcome]) -> Summary:
    """Return the pass rate with its interval, and the spread of each figure."""
    passed = sum(run.ok for run in runs)
    rate = score_accuracy(passed, len(runs))
    figures = {
        name: spread
        for name, figure in FIGURES.items()
        if (spread := _spread([figure(run) for run in runs])) is not None
    }
    return Summary(
        runs=len(runs),
        passed=passed,
        rate=round(rate.ratio, 4),
        rate_low=round(rate.low, 4),
        rate_high=round(rate.high, 4),
        bad_release_beyond_two_devices=sum(
            len(run.bad_release_devices) > CANARY for run in runs
        ),
        good_releases_stopped=sum(run.good_release_stopped for run in runs),
        figures=figures,
    )


def make_repeat_report(
    sensor: str, wanted: int, runs: Sequence[Outcome]
) -> RepeatReport:
    """Return the report of a series; it is ok only if all runs came and passed."""
    groups = {
        "all": list(runs),
        "alone": [run for run in runs if not run.loaded],
        "under load": [run for run in runs if run.loaded],
    }
    return RepeatReport(
        ok=len(runs) == wanted and all(run.ok for run in runs),
        sensor=sensor,
        wanted=wanted,
        outcomes=list(runs),
        summaries={name: summarize(group) for name, group in groups.items() if group},
    )


def _spread(values: Sequence[float | None]) -> Spread | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Spread(n=len(known), median=median(known), low=min(known), high=max(known))
