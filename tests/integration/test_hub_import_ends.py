"""An import ends with its command, and a model's file name is never an option."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge_agent.base.clock import SystemClock
from hub.config import Home
from hub.home import create_home

DATA = Path(__file__).parents[1] / "data"
DEADLINE_S = 30.0
SLOW_TRAINER = """
import os, signal, subprocess, sys
from pathlib import Path
from edge_agent.base.program import begin_program
begin_program()
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
Path({note!r}).write_text(f"{{os.getpid()}} {{child.pid}} {{Path.cwd()}}")
signal.pause()
"""
IMPORT = """
import sys
from hub.releases import importing
importing.COMMAND = (sys.executable, "-c", {trainer!r})
sys.argv = ["hub", "--home", {home!r}, "releases", "import", {model!r}]
from hub.cli import main
main()
"""


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2]
    except OSError:
        return False
    return state.split()[0] != "Z"


def _wait_until_gone(pids: list[int]) -> bool:
    end = time.monotonic() + DEADLINE_S
    while any(map(_lives, pids)) and time.monotonic() < end:
        os.sched_yield()
    return not any(map(_lives, pids))


@pytest.mark.parametrize(
    ("number", "code", "scope"),
    [
        (signal.SIGTERM, 143, "all"),
        (signal.SIGINT, 130, "all"),
        (signal.SIGKILL, -9, "trainer"),
    ],
)
def test_a_signal_to_an_import_ends_the_trainer(
    tmp_path: Path, number: signal.Signals, code: int, scope: str
) -> None:
    """No orphan works on, and where the hub can tidy up it leaves no folder."""
    create_home(Home(tmp_path / "home"), SystemClock())
    note, scratch = tmp_path / "note", tmp_path / "tmp"
    scratch.mkdir()
    program = IMPORT.format(
        trainer=SLOW_TRAINER.format(note=str(note)),
        home=str(tmp_path / "home"),
        model=str(DATA / "kinds" / "pump.tflite"),
    )
    command = [sys.executable, "-c", program]
    environment = {**os.environ, "TMPDIR": str(scratch)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as hub:
        end = time.monotonic() + DEADLINE_S
        while not (note.exists() and note.read_text("utf-8").count(" ") > 1):
            assert hub.poll() is None, hub.communicate()
            assert time.monotonic() < end
            os.sched_yield()
        trainer, grandchild = map(int, note.read_text("utf-8").split()[:2])
        hub.send_signal(number)
        _, err = hub.communicate(timeout=DEADLINE_S)
    try:
        assert hub.returncode == code
        assert _wait_until_gone([trainer])
        if scope == "all":
            assert _wait_until_gone([grandchild])
            assert list(scratch.iterdir()) == []
        assert b"Traceback" not in err
    finally:
        if _lives(grandchild):
            os.kill(grandchild, signal.SIGKILL)


@pytest.mark.parametrize("name", ["--out", "-x [red]\x1b[2J.tflite"])
def test_a_model_file_may_have_any_name(tmp_path: Path, name: str) -> None:
    """It is a file for the hub and for the trainer that the hub starts."""
    create_home(Home(tmp_path / "home"), SystemClock())
    (tmp_path / name).write_bytes((DATA / "kinds" / "pump.tflite").read_bytes())
    done = subprocess.run(
        [
            *(sys.executable, "-m", "hub", "--home", "home"),
            *("releases", "import", "--name", "p", "--", name),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "release 1 is published\n"), (
        done.stderr
    )
