"""Supervising a job's process: real processes, trivial commands."""

import sys
from pathlib import Path

import pytest

from hub.errors import HubError
from hub.retrain.launch import Ended, Supervision

WAIT_S = 20.0


def claim(folder: Path) -> Supervision:
    """Take a folder's lock, which must be free."""
    supervision = Supervision.claim(folder)
    assert supervision is not None
    return supervision


def test_exit_code_and_output_are_kept(tmp_path: Path) -> None:
    """How the process ended and what it said last can be read afterwards."""
    supervision = claim(tmp_path)
    code = "import sys; print('half a model'); sys.exit(7)"
    pid = supervision.launch([sys.executable, "-c", code])
    ended = supervision.wait(WAIT_S)
    supervision.release()

    assert pid > 0
    assert ended == Ended(exit_code=7)
    assert supervision.log_tail() == "half a model"


def test_only_one_process_supervises_a_job(tmp_path: Path) -> None:
    """The lock is exclusive until it is given back."""
    first = claim(tmp_path)
    taken = Supervision.claim(tmp_path)
    first.release()
    claim(tmp_path).release()

    assert taken is None


def test_killing_ends_the_process_and_its_children(tmp_path: Path) -> None:
    """A process that ignores the polite signal is gone all the same."""
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "print('up', flush=True); time.sleep(600)"
    )
    supervision = claim(tmp_path)
    supervision.launch([sys.executable, "-c", code])
    while "up" not in supervision.log_tail():
        assert supervision.wait(0.05) is None
    supervision.kill()

    assert supervision.poll() == Ended(exit_code=-9)
    supervision.release()


def test_a_process_that_outlived_its_supervisor_is_found_again(tmp_path: Path) -> None:
    """It is told from a stranger with the same id by its command line."""
    first = claim(tmp_path)
    code = "import time; print('up', flush=True); time.sleep(600)"
    pid = first.launch([sys.executable, "-c", code, str(tmp_path)])
    while "up" not in first.log_tail():
        assert first.wait(0.05) is None
    first.release()
    second = claim(tmp_path)
    second.adopt(pid)
    alive = second.poll()
    first.kill()
    gone = second.poll()
    second.adopt(1)
    stranger = second.poll()
    second.release()

    assert alive is None
    assert gone == stranger == Ended(exit_code=None)


def test_a_command_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """The error names the program."""
    supervision = claim(tmp_path)
    with pytest.raises(HubError, match="HUB-RETRAIN-002"):
        supervision.launch([str(tmp_path / "no-trainer")])
    supervision.release()
