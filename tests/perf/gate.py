"""The gate of a stage, simulated: who is stopped, and after how many reports.

Devices report one after the other and the gate looks after each. Beside the rule of
:mod:`hub.rollout.gates.failures` stand ``max_failures = 0`` and hawkBit's condition
(failed devices of a group above a share of the *whole* group). Seeds are fixed; every
share has its 95 % Wilson interval.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from hub.cli.output import print_table
from hub.monitor.performance import score_accuracy
from hub.rollout.device_facts import DeviceFacts
from hub.rollout.evalue import evalue, threshold
from hub.rollout.gates.failures import allows_none, find_left_out, judge_failures
from hub.rollout.gates.result import Decision, StageFacts
from hub.rollout.judge import outcomes_of
from hub.rollout.plan import Plan
from tests.perf.gate_labels import measure_labels
from tests.perf.report import Metric

SEED = 10
_SIZES = (8, 50, 200, 1000)
_RATIOS = (0.001, 0.005, 0.01, 0.02, 0.2, 0.3)
_ROLLOUTS = 2000
_CLASS_ROLLOUTS = 40
_CLASSES = 5
_STAGES = (0.25, 0.5, 1.0)
_GROUP_SHARE = 0.1
"""hawkBit's error threshold of a group."""
_FALSE_STOP = 0.001
_BAD = 0.2

Failed = NDArray[np.bool_]
"""Shape (rollouts, devices), in the order in which devices report."""
Rule = Callable[[Failed], NDArray[np.int64]]
"""Returns after how many reports each rollout stops (0: not at all)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One rule at one fleet size and failure ratio."""

    rule: str
    devices: int
    ratio: float
    stopped: int
    reports: float

    @property
    def share(self) -> float:
        """Share of rollouts that were stopped."""
        return self.stopped / _ROLLOUTS


def measure(folder: Path) -> list[Metric]:
    """Simulate and print the tables; ``folder`` is not used."""
    del folder
    rows = [
        _row(name, rule, devices, ratio)
        for devices in _SIZES
        for ratio in _RATIOS
        for name, rule in _RULES
    ]
    _print(rows)
    found = [
        *_false_stops(rows),
        *_delays(rows),
        *(_one_class_fails(devices) for devices in _SIZES[1:]),
    ]
    return [*found, *measure_labels()]


def by_evalue(failed: Failed) -> NDArray[np.int64]:
    """Stop as the gate does, with one hardware class."""
    devices = failed.shape[1]
    if allows_none(devices):
        return by_first_failure(failed)
    limits = np.array([_needed(n) for n in range(1, devices + 1)])
    return _first(np.cumsum(failed, axis=1) >= limits)


def by_first_failure(failed: Failed) -> NDArray[np.int64]:
    """Stop at the first failure: ``max_failures = 0``."""
    return _first(failed)


def by_group_share(failed: Failed) -> NDArray[np.int64]:
    """Stop when more than a share of the whole group failed, as hawkBit does."""
    devices = failed.shape[1]
    over = np.zeros_like(failed)
    begin = 0
    for share in _STAGES:
        end = int(np.ceil(share * devices))
        group = np.cumsum(failed[:, begin:end], axis=1)
        over[:, begin:end] = group > _GROUP_SHARE * (end - begin)
        begin = end
    return _first(over)


_RULES: Sequence[tuple[str, Rule]] = (
    ("gate", by_evalue),
    ("max_failures = 0", by_first_failure),
    ("hawkBit, 10 % of a group", by_group_share),
)


def _needed(n: int) -> int:
    """Return the fewest failures of ``n`` at which the e-value stops."""
    return next((k for k in range(1, n + 1) if evalue(k, n) >= threshold()), n + 1)


def _first(stops: Failed) -> NDArray[np.int64]:
    place = np.argmax(stops, axis=1) + 1
    return np.where(stops.any(axis=1), place, 0)


def _row(name: str, rule: Rule, devices: int, ratio: float) -> Row:
    draw = np.random.default_rng([SEED, devices, round(1000 * ratio)])
    stopped = rule(draw.random((_ROLLOUTS, devices)) < ratio)
    count = int(np.count_nonzero(stopped))
    reports = float(stopped[stopped > 0].mean()) if count else 0.0
    return Row(rule=name, devices=devices, ratio=ratio, stopped=count, reports=reports)


def _print(rows: Sequence[Row]) -> None:
    click.echo(f"rollouts stopped, n = {_ROLLOUTS} each, seed {SEED}")
    print_table(
        ("rule", "devices", "failing", "stopped", "95 %", "after reports"),
        [
            (
                row.rule,
                row.devices,
                f"{row.ratio:.1%}",
                f"{row.share:.1%}",
                _interval(row.stopped, _ROLLOUTS),
                f"{row.reports:.1f}" if row.stopped else "-",
            )
            for row in rows
        ],
    )


def _interval(count: int, n: int) -> str:
    found = score_accuracy(count, n)
    return f"{found.low:.2%} to {found.high:.2%}"


def _false_stops(rows: Sequence[Row]) -> list[Metric]:
    return [
        Metric(
            name=f"false stop, {row.devices} devices at {_FALSE_STOP:.1%} each",
            value=100 * row.share,
            unit="%",
            at_most=1.0,
        )
        for row in rows
        if row.rule == "gate" and row.ratio == _FALSE_STOP
    ]


def _delays(rows: Sequence[Row]) -> list[Metric]:
    return [
        Metric(
            name=f"reports until a {_BAD:.0%}-bad release stops, {row.devices} devices",
            value=row.reports,
            unit="reports",
            at_most=20.0,
        )
        for row in rows
        if row.rule == "gate" and row.ratio == _BAD and row.devices >= _SIZES[1]
    ]


def _one_class_fails(devices: int) -> Metric:
    """Let one class of five always fail; count rollouts that go on without it."""
    draw = np.random.default_rng([SEED, devices])
    failures: list[int] = []
    for _ in range(_CLASS_ROLLOUTS):
        failed = draw.random(devices) < _FALSE_STOP
        failed[draw.integers(_CLASSES) :: _CLASSES] = True
        failures.append(_until_left_out(failed))
    went_on = [one for one in failures if one]
    click.echo(
        f"one class of {_CLASSES} always fails, {devices} devices: left out in"
        f" {len(went_on)} of {_CLASS_ROLLOUTS} rollouts"
        f" [{_interval(len(went_on), _CLASS_ROLLOUTS)}],"
        f" after {np.mean(went_on or [0]):.1f} failures"
    )
    return Metric(
        name=f"one class of {_CLASSES} fails: the rest goes on, {devices} devices",
        value=100 * len(went_on) / _CLASS_ROLLOUTS,
        unit="%",
        at_least=99.0,
    )


def _until_left_out(failed: Failed) -> int:
    """Return after how many failures a class is left out (0: the release ended)."""
    plan = Plan(
        stages=_STAGES,
        min_labels=0,
        accuracy_drop_max=0.05,
        soak_s=1.0,
        stage_deadline_s=1.0,
    )
    fleet = [
        DeviceFacts(
            device=f"d{n}",
            stage=0,
            online=True,
            hardware=f"class{n % _CLASSES}",
            phase="IDLE",
        )
        for n in range(len(failed))
    ]
    for place, bad in enumerate(failed):
        fleet[place] = DeviceFacts(
            device=f"d{place}",
            hardware=f"class{place % _CLASSES}",
            release=1 if bad else 2,
            outcome="failed" if bad else "committed",
            assigned_seq=1,
            reported_seq=1,
            stage=0,
            online=True,
        )
        facts = StageFacts(
            rollout="r",
            stage=0,
            candidate=2,
            plan=plan,
            devices=fleet,
            outcomes=outcomes_of(fleet, 2, plan),
        )
        if find_left_out(facts):
            return int(np.count_nonzero(failed[: place + 1]))
        if judge_failures(facts).decision is Decision.ABORT:
            return 0
    return 0
