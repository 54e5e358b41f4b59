"""The demo's report: every figure as JSON, and a summary for people."""

import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import msgspec
from rich.console import Console
from rich.table import Table

from edge_agent.wire.types import Message
from hub.demo import figures as read
from hub.demo.accounts import Records
from hub.demo.acts import BAD, FIRST, SECOND
from hub.demo.fleet import MOVES, STAYS
from hub.demo.stage import Stage

_Figure = TypeVar("_Figure")
ByArm = dict[str, dict[str, read.Labelled]]
_PACKAGES = ("shoal", "ai-edge-litert", "tensorflow", "numpy", "paho-mqtt", "tuf")


class ActResult(Message, frozen=True, kw_only=True):
    """How one act went."""

    name: str
    ok: bool
    duration_s: float
    line: str


class Report(Message, frozen=True, kw_only=True):
    """``demo-report.json``. Accuracies are 0 to 1, as measured from feedback.

    ``accuracy`` compares both releases on the same recordings: the second halves,
    from which neither has learnt. ``accuracy_first_half`` is release 1 before that.
    Each is the mean over devices of the mean over a device's recordings.
    ``bad_release_codes`` counts the canary's devices by what stopped the bad release
    there, ``bad_release_devices`` are those on which it was ever active;
    ``good_release_stopped``: a rollout of release 1 or 2 was held or rolled back.
    ``right_loss_at_least`` is what release 2 lost on right arms, as a 95 % bound.
    """

    ok: bool
    sensor: str
    seed: int
    duration_s: float
    acts: list[ActResult]
    accuracy: dict[str, dict[str, float | None]]
    accuracy_first_half: dict[str, float | None]
    accuracy_by_device: dict[str, dict[str, dict[str, float]]]
    right_loss_at_least: float | None
    labels: dict[str, dict[str, int]]
    alerts: dict[str, int]
    alert: str
    alert_before_labels: bool
    drift_fired_at: float
    labels_fired_at: float | None
    alert_to_release_s: float | None
    devices_on_release: dict[str, int]
    devices_by_phase: dict[str, dict[str, int]]
    rollouts: dict[str, str]
    deltas: dict[str, dict[str, int]]
    bad_release: str
    bad_release_codes: dict[str, int]
    bad_release_devices: list[str]
    good_release_stopped: bool
    records: Records
    versions: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What the report is made of besides the stage."""

    results: list[ActResult]
    records: Records
    broker: str
    sensor: str
    seed: int
    duration_s: float


def make_report(stage: Stage, run: Run) -> Report:
    """Collect the figures of a run that ended, well or not."""
    counts: ByArm = {
        f"release_{number}": {
            arm: read.labelled(stage.engine, number, arm, read.SECOND_HALF)
            for arm in read.ARMS
        }
        for number in (1, 2)
    }
    figures = stage.figures
    on = read.devices_on_release(stage.engine)
    return Report(
        ok=all(result.ok for result in run.results),
        sensor=run.sensor,
        seed=run.seed,
        duration_s=round(run.duration_s, 1),
        acts=run.results,
        accuracy=_by_arm(counts, lambda by: _rounded(read.accuracy(by))),
        accuracy_first_half={
            arm: _rounded(
                read.accuracy(read.labelled(stage.engine, 1, arm, read.FIRST_HALF))
            )
            for arm in read.ARMS
        },
        accuracy_by_device=_by_arm(counts, _shares),
        right_loss_at_least=_rounded(
            read.least_loss(*(by["right"] for by in counts.values()))
        ),
        labels=_by_arm(counts, _count_labels),
        alerts={
            "right": len(read.fired_alerts(stage.engine, STAYS)),
            "left": len(read.fired_alerts(stage.engine, MOVES)),
        },
        alert=figures.drift_summary,
        alert_before_labels=_before_labels(stage),
        drift_fired_at=figures.drift_fired_at,
        labels_fired_at=figures.labels_fired_at,
        alert_to_release_s=_alert_to_release_s(stage),
        devices_on_release={str(number): on[number] for number in (1, 2, 3)},
        devices_by_phase=figures.on_release,
        rollouts=figures.rollouts,
        deltas=figures.deltas,
        bad_release=figures.bad_reason,
        bad_release_codes=figures.bad_codes,
        bad_release_devices=read.devices_that_ran(stage.engine, BAD),
        good_release_stopped=bool(
            read.good_releases_stopped(stage.engine, (FIRST, SECOND))
        ),
        records=run.records,
        versions=_versions(run.broker),
    )


def _versions(broker: str) -> dict[str, str]:
    packages = {name: version(name) for name in _PACKAGES}
    return {**packages, "python": platform.python_version(), "broker": broker}


def _by_arm(
    counts: ByArm, figure: Callable[[read.Labelled], _Figure]
) -> dict[str, dict[str, _Figure]]:
    return {
        name: {arm: figure(by) for arm, by in arms.items()}
        for name, arms in counts.items()
    }


def _shares(by: read.Labelled) -> dict[str, float]:
    return {d: round(read.device_accuracy(of), 4) for d, of in sorted(by.items())}


def _count_labels(by: read.Labelled) -> int:
    return sum(n for recordings in by.values() for _, n in recordings.values())


def _alert_to_release_s(stage: Stage) -> float | None:
    figures = stage.figures
    if not figures.drift_fired_at or not figures.release_2_at:
        return None
    return round(figures.release_2_at - figures.drift_fired_at, 1)


def write_report(report: Report, path: Path) -> None:
    """Write the report as indented JSON."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")


def print_summary(report: Report, path: Path, console: Console) -> None:
    """Print the figures that people ask for first."""
    console.print("accuracy on the same recordings, from late labels")
    table = Table()
    table.add_column("")
    for arm in read.ARMS:
        table.add_column(f"{arm} arm", justify="right")
    for name, arms in report.accuracy.items():
        cells = (arms[arm] for arm in read.ARMS)
        table.add_row(
            name.replace("_", " "),
            *("-" if cell is None else f"{cell:.1%}" for cell in cells),
        )
    console.print(table)
    records = report.records
    console.print(
        f"records: {records.produced} produced, {records.received} received, "
        f"{records.duplicates} twice, {records.redelivered} redelivered and ignored"
    )
    on = ", ".join(f"{n} on release {r}" for r, n in report.devices_on_release.items())
    console.print(f"devices: {on}", markup=False)
    verdict = "every act did what it should" if report.ok else "the demo FAILED"
    line = f"{verdict}, {report.duration_s:.0f} s; figures in {path}"
    console.print(line, soft_wrap=True, highlight=False, markup=False)


def _before_labels(stage: Stage) -> bool:
    """Tell whether profiles raised the alarm before labels did."""
    drift, labels = stage.figures.drift_fired_at, stage.figures.labels_fired_at
    return bool(drift) and labels is not None and drift < labels


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
