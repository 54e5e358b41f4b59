"""``hub demo --repeat``: the demo again and again, a seed and a process a run.

After each run ``demo-repeat.json`` is written anew, so that a series that is
interrupted leaves what it has. Runs that failed keep their folders.
"""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import msgspec
from rich.console import Console

from edge_agent.base.terminal import one_line
from hub.demo.load import busy_cores
from hub.demo.options import Options, Series
from hub.demo.outcomes import Outcome, make_repeat_report, read_outcome
from hub.demo.processes import interruptible
from hub.demo.repeat_table import print_repeat
from hub.demo.report import Report

POLL_S = 1.0
_STOP_S = 300.0
_WHY_CHARS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFiles:
    """Where a run writes its report and its output."""

    report: Path
    log: Path


class Runner(Protocol):
    """Plays the demo once."""

    def __call__(
        self, options: Options, files: RunFiles, say: Callable[[str], None]
    ) -> None:
        """Play it to its end and leave the report; ``say`` shows what happens."""


def repeat_demo(
    series: Series, target: Path, console: Console, play: Runner | None = None
) -> bool:
    """Play a series and print its table.

    Args:
        series: What to play.
        target: Where ``demo-repeat.json`` goes.
        console: Where progress and the table are shown.
        play: What plays one run; by default a process of its own.

    Returns:
        Whether every run passed.

    Raises:
        KeyboardInterrupt: Ctrl-C; every process has been stopped, what is known is
            printed and written.
    """
    base = series.options.folder
    console.print(f"runs and their logs are in {base}", highlight=False, markup=False)
    outcomes: list[Outcome] = []
    report = make_repeat_report(series.options.sensor, series.runs, outcomes)
    try:
        with interruptible():
            for place in range(series.runs):
                outcomes.append(_run(series, place, outcomes, console, play or spawn))
                report = make_repeat_report(
                    series.options.sensor, series.runs, outcomes
                )
                _write(report, target)
    finally:
        if outcomes:
            print_repeat(report, target, console)
    if report.ok:
        shutil.rmtree(base, ignore_errors=True)
    return report.ok


def _run(
    series: Series, place: int, before: list[Outcome], console: Console, play: Runner
) -> Outcome:
    options, loaded = series.options, series.load and place % 2 == 1
    seed = options.seed + place
    name = f"run-{place + 1:02}-seed-{seed}"
    base = options.folder
    files = RunFiles(report=base / f"{name}.json", log=base / f"{name}.log")
    mine = replace(options, folder=base / name, seed=seed)
    head = f"run {place + 1} of {series.runs}, seed {seed}" + ", loaded" * loaded
    head += _so_far(before, series.runs)
    started = time.monotonic()
    with ExitStack() as stack:
        say = _announce(head, console, stack)
        if loaded:
            stack.enter_context(busy_cores(base / "load"))
        play(mine, files, say)
    outcome = _outcome(files, mine, loaded=loaded, took_s=time.monotonic() - started)
    if outcome.ok:
        shutil.rmtree(mine.folder, ignore_errors=True)
    said = "ok" if outcome.ok else f"FAILED in {outcome.failed_act}: {outcome.why}"
    line = f"run {place + 1}, seed {seed}: {said}, {outcome.duration_s:.0f} s"
    console.print(one_line(line), highlight=False, markup=False, soft_wrap=True)
    return outcome


def spawn(options: Options, files: RunFiles, say: Callable[[str], None]) -> None:
    """Play one run in a process of its own; it is stopped before this returns."""
    argv = [
        *(sys.executable, "-m", "hub", "demo"),
        *("--folder", str(options.folder), "--report", str(files.report)),
        *("--broker", options.broker, "--sensor", options.sensor),
        *("--seed", str(options.seed)),
    ]
    with files.log.open("wb") as log:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        while process.poll() is None:
            say(_last_line(files.log))
            try:
                process.wait(POLL_S)
            except subprocess.TimeoutExpired:
                continue
    finally:
        if process.poll() is None:
            # It stops its own children, in order and each with a deadline.
            process.send_signal(signal.SIGTERM)
            process.wait(_STOP_S)


def _outcome(
    files: RunFiles, options: Options, *, loaded: bool, took_s: float
) -> Outcome:
    """Read a run's report; a run that left none has failed."""
    folder = str(options.folder)
    try:
        report = msgspec.json.decode(files.report.read_bytes(), type=Report)
    except (OSError, msgspec.DecodeError) as error:
        why = _last_line(files.log) or str(error)
        return Outcome(
            seed=options.seed,
            loaded=loaded,
            ok=False,
            failed_act="stage",
            why=why[:_WHY_CHARS],
            duration_s=round(took_s, 1),
            folder=folder,
        )
    return read_outcome(report, loaded=loaded, folder=folder)


def _announce(head: str, console: Console, stack: ExitStack) -> Callable[[str], None]:
    """Show the head, and on a terminal what the run is doing."""
    if not console.is_terminal:
        console.print(head, highlight=False, markup=False, soft_wrap=True)
        return lambda _text: None
    status = stack.enter_context(console.status(head))
    return lambda text: status.update(f"{head}\n  {text.strip()}")


def _so_far(before: list[Outcome], wanted: int) -> str:
    if not before:
        return ""
    ok = sum(run.ok for run in before)
    mean_s = sum(run.duration_s for run in before) / len(before)
    left_min = mean_s * (wanted - len(before)) / 60
    return f"; {ok} of {len(before)} ok, about {left_min:.0f} min left"


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line for line in reversed(lines) if line.strip()), "")


def _write(report: msgspec.Struct, target: Path) -> None:
    part = target.with_name(f".{target.name}.part")
    part.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    part.replace(target)
