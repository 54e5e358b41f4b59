"""The demo repeated: seeds, folders, load, the table and its file."""

import os
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from hub.demo.load import busy_cores
from hub.demo.options import Options, Series
from hub.demo.outcomes import RepeatReport
from hub.demo.repeat import repeat_demo
from tests.fakes.demo_runs import ScriptedRuns


def _series(folder: Path, runs: int, *, load: bool = False) -> Series:
    folder.mkdir()
    options = Options(
        folder=folder, broker="auto", keep=False, sensor="sessions", seed=5
    )
    return Series(options=options, runs=runs, load=load)


def _read(path: Path) -> RepeatReport:
    return msgspec.json.decode(path.read_bytes(), type=RepeatReport)


def _console() -> tuple[Console, Callable[[], str]]:
    out = StringIO()
    return Console(file=out, width=200), out.getvalue


def test_each_run_has_the_next_seed_and_a_folder_of_its_own(tmp_path: Path) -> None:
    """All pass: the series is ok, and nothing but its figures is left."""
    runs, (console, said) = ScriptedRuns(["ok", "ok", "ok"]), _console()
    base, target = tmp_path / "runs", tmp_path / "demo-repeat.json"

    assert repeat_demo(_series(base, 3), target, console, runs)

    assert [options.seed for options in runs.played] == [5, 6, 7]
    assert len({options.folder for options in runs.played}) == 3
    assert not base.exists()
    assert _read(target).ok
    assert "3 of 3 passed" in said()


def test_what_failed_is_kept_and_named(tmp_path: Path) -> None:
    """A run that failed, or left no report at all, keeps its folder; others go on."""
    runs, (console, said) = ScriptedRuns(["fail", "ok", "crash"]), _console()
    base, target = tmp_path / "runs", tmp_path / "demo-repeat.json"

    assert not repeat_demo(_series(base, 3), target, console, runs)

    kept = [options.folder for options in runs.played if options.folder.exists()]
    assert kept == [runs.played[0].folder, runs.played[2].folder]
    report = _read(target)
    assert [run.folder for run in report.outcomes] == [str(kept[0]), "", str(kept[1])]
    assert report.outcomes[2].why == "HUB-DEMO-001: broker ended"
    text = said()
    assert "seed 5 failed in release-2: [2 of 2] failed" in text
    assert all(str(folder) in text for folder in kept)


def test_an_interrupted_series_leaves_what_it_has(tmp_path: Path) -> None:
    """Ctrl-C in the second run: the first stands in table and file."""
    runs, (console, said) = ScriptedRuns(["ok", "interrupt"]), _console()
    target = tmp_path / "demo-repeat.json"

    with pytest.raises(KeyboardInterrupt):
        repeat_demo(_series(tmp_path / "runs", 4), target, console, runs)

    report = _read(target)
    assert (len(report.outcomes), report.wanted, report.ok) == (1, 4, False)
    assert "3 of 4 runs were not played to the end" in said()


def test_every_second_run_is_loaded(tmp_path: Path) -> None:
    """Half of a series runs beside other work, and the report says which."""
    runs, (console, _) = ScriptedRuns(["ok"] * 4), _console()
    target = tmp_path / "demo-repeat.json"

    repeat_demo(_series(tmp_path / "runs", 4, load=True), target, console, runs)

    assert [run.loaded for run in _read(target).outcomes] == [False, True, False, True]


def test_load_keeps_each_core_busy_and_ends(tmp_path: Path) -> None:
    """A process a core uses processor time; afterwards none is left."""
    with busy_cores(tmp_path) as pids:
        assert len(pids) == len(os.sched_getaffinity(0))
        deadline = time.monotonic() + 20
        while min(map(_cpu_ticks, pids)) == 0:
            assert time.monotonic() < deadline, "a loop never ran"
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_load_ends_on_an_interrupt(tmp_path: Path) -> None:
    """Ctrl-C while cores are busy leaves no loop behind."""
    pids: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        _interrupt_load(tmp_path, pids)
    assert pids
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def _interrupt_load(folder: Path, pids: list[int]) -> None:
    with busy_cores(folder) as started:
        pids += started
        raise KeyboardInterrupt


def _cpu_ticks(pid: int) -> int:
    """Return the user time that a process has used, in clock ticks."""
    stat = Path(f"/proc/{pid}/stat").read_text("utf-8")
    return int(stat.rpartition(")")[2].split()[11])
