"""The folder source under kill -9: nothing is lost, and next to nothing repeated."""

import random
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import numpy as np

from tests.fakes.worker_device import wait_for

SEED = 20
FILES, ROWS, KILLS = 3, 10_000, 8


def test_kills_lose_nothing_and_repeat_one_sample_each(tmp_path: Path) -> None:
    """Every sample is answered; a kill repeats at most the one that was under way."""
    print(f"seed {SEED}")  # noqa: T201 - so that a failure can be repeated
    rng = random.Random(SEED)
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(FILES):
        np.savetxt(folder / f"{number}.csv", np.ones((ROWS, 2)), "%g", ",")
    answers = tmp_path / "answers"
    kills = 0
    for _ in range(KILLS):
        before = answers.stat().st_size if answers.exists() else 0
        process = _start(tmp_path)
        try:
            wait_for(lambda before=before: _grew(answers, before) or _is_done(folder))  # type: ignore[misc]
            threading.Event().wait(rng.uniform(0.0, 0.15))
        finally:
            process.kill()
            process.wait()
        kills += not _is_done(folder)
    process = _start(tmp_path)
    try:
        wait_for(lambda: _is_done(folder))
    finally:
        process.kill()
        process.wait()
    told = Counter(answers.read_text().splitlines())
    wanted = {f"{n}.csv@{row}" for n in range(FILES) for row in range(0, ROWS, 10)}
    assert set(told) == wanted
    assert kills >= 3
    assert sum(told.values()) - len(wanted) <= kills


def _start(folder: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "tests.fakes.folder_reader", str(folder)]
    return subprocess.Popen(command, cwd=Path(__file__).parents[2])


def _grew(path: Path, before: int) -> bool:
    return path.exists() and path.stat().st_size > before


def _is_done(folder: Path) -> bool:
    done = folder / "done"
    return done.is_dir() and len(list(done.iterdir())) == FILES
