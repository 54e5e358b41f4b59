"""Runs a job's process: one at a time a folder, with a deadline, found again later.

Whoever supervises a job holds the lock of its folder, so that the hub's ticker and a
command line never both do; the lock goes with the process that holds it. A process
that outlived its supervisor is found by its id *and* its command line (ids are used
again), and is watched until it ends; only its exit code is lost then.
"""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from edge_agent.wire.job import JOB_FILE
from hub.errors import HubError

LOG_FILE = "trainer.log"
LOCK_FILE = "supervisor.lock"
KILL_AFTER_S = 2.0


def trainer_command(folder: Path) -> list[str]:
    """Return the command that runs the trainer on a job folder."""
    return [sys.executable, "-m", "trainer", "run", str(folder / JOB_FILE)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A process that is gone. ``exit_code`` is ``None`` where nobody waited for it."""

    exit_code: int | None


class Supervision:
    """The right to run a job, and its process."""

    def __init__(self, folder: Path, lock: BinaryIO) -> None:
        """Use :meth:`claim`."""
        self._folder, self._lock = folder, lock
        self._child: subprocess.Popen[bytes] | None = None
        self._pid = 0

    @classmethod
    def claim(cls, folder: Path) -> Self | None:
        """Take a job's lock; ``None`` if another process supervises it."""
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK_FILE).open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return None
        return cls(folder, lock)

    def launch(self, command: Sequence[str]) -> int:
        """Start the process with its output in the folder's log; return its id.

        Raises:
            HubError: It cannot be started (``HUB-RETRAIN-002``).
        """
        try:
            with (self._folder / LOG_FILE).open("ab") as output:
                self._child = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            raise HubError(
                "HUB-RETRAIN-002", f"cannot start {command[0]}: {error}"
            ) from error
        self._pid = self._child.pid
        return self._pid

    def adopt(self, pid: int) -> None:
        """Watch a process that an earlier supervisor started."""
        self._pid = pid

    def poll(self) -> Ended | None:
        """Return how the process ended, ``None`` while it runs."""
        if self._child is not None:
            code = self._child.poll()
            return None if code is None else Ended(exit_code=code)
        return None if _is_ours(self._pid, self._folder) else Ended(exit_code=None)

    def wait(self, timeout_s: float) -> Ended | None:
        """Wait for a launched process, at most ``timeout_s``."""
        if self._child is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(timeout_s)
        return self.poll()

    def kill(self) -> None:
        """End the process and its children: politely, then for sure."""
        if self.poll() is not None:
            return
        self._signal(signal.SIGTERM)
        if self.wait(KILL_AFTER_S) is None:
            self._signal(signal.SIGKILL)
            self.wait(KILL_AFTER_S)

    def release(self) -> None:
        """Give the lock back."""
        self._lock.close()

    def log_tail(self, limit: int = 600) -> str:
        """Return the end of the process's output."""
        try:
            data = (self._folder / LOG_FILE).read_bytes()
        except OSError:
            return ""
        return data[-limit:].decode(errors="replace").strip()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._pid, number)


def _is_ours(pid: int, folder: Path) -> bool:
    """Tell whether a process with this id runs and speaks of this folder."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return str(folder).encode() in command
