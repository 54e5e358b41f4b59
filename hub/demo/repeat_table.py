"""The table of a series of runs, for people."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from edge_agent.base.terminal import one_line
from hub.demo.outcomes import Outcome, RepeatReport, Summary, accuracy_of

_COLUMNS = (
    "seed",
    "load",
    "outcome",
    "s",
    "left arm",
    "right arm",
    "stopped by",
    "on",
    "good",
    "lost",
    "twice",
)
_WHOLE = ("left arm", "right arm", "stopped by")
_SHARES = ("left_before", "left_after", "right_before", "right_after")


def print_repeat(report: RepeatReport, path: Path, console: Console) -> None:
    """Print a row a run, then medians with ranges, and the pass rate."""
    table = Table(title=f"sensor: {report.sensor}", box=None, padding=(0, 1, 0, 0))
    for name in _COLUMNS:
        table.add_column(name, no_wrap=name in _WHOLE)
    for run in report.outcomes:
        table.add_row(*_cells(run))
    console.print(table, markup=False)
    for name, summary in report.summaries.items():
        _print(console, f"{name}: {_describe(summary)}")
    for run in report.outcomes:
        if not run.ok:
            _print(console, f"seed {run.seed} failed in {run.failed_act}: {run.why}")
            _print(console, f"  its folder is kept: {run.folder}")
    missing = report.wanted - len(report.outcomes)
    if missing:
        _print(console, f"{missing} of {report.wanted} runs were not played to the end")
    _print(console, f"figures in {path}")


def _print(console: Console, line: str) -> None:
    console.print(one_line(line), soft_wrap=True, highlight=False, markup=False)


def _cells(run: Outcome) -> tuple[str, ...]:
    return (
        str(run.seed),
        "yes" if run.loaded else "",
        "ok" if run.ok else run.failed_act,
        f"{run.duration_s:.0f}",
        _both(run, "left"),
        _both(run, "right"),
        ", ".join(
            f"{code.removeprefix('AGENT-')} x{n}"
            for code, n in run.bad_release_codes.items()
        )
        or "-",
        str(len(run.bad_release_devices)),
        "stopped" if run.good_release_stopped else "ok",
        "?" if run.lost is None else str(run.lost),
        str(run.twice),
    )


def _both(run: Outcome, arm: str) -> str:
    return "→".join(
        "-" if value is None else f"{value:.2f}"
        for value in (accuracy_of(run, release, arm) for release in (1, 2))
    )


def _describe(summary: Summary) -> str:
    figures = [
        f"{name} {spread.median:.{digits}f} [{spread.low:.{digits}f}, "
        f"{spread.high:.{digits}f}]"
        for name, spread in summary.figures.items()
        for digits in (2 if name in _SHARES else 0,)
    ]
    low, high = summary.rate_low, summary.rate_high
    parts = [
        f"{summary.passed} of {summary.runs} passed, 95 % [{low:.2f}, {high:.2f}]",
        f"bad release beyond the canary in {summary.bad_release_beyond_two_devices}",
        f"good release stopped in {summary.good_releases_stopped}",
    ]
    medians = f"\n  median [range]: {', '.join(figures)}" if figures else ""
    return "; ".join(parts) + medians
