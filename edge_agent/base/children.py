"""A process that works for a command and ends with it, however the command ends.

Ctrl-C and SIGTERM to the command end the child by :func:`run_child`; where the command
itself is killed, the kernel kills the child, which has asked for it at its start
(:func:`end_with_parent`: between fork and exec it would not be safe with threads). The
child has a process group of its own, so that what it started ends too.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess

PARENT_VARIABLE = "SHOAL_ENDS_WITH"
"""Environment variable: the process id of whom a program ends with."""
_PR_SET_PDEATHSIG = 1
_ENDED_BY = 128


def run_child(
    command: Sequence[str], timeout_s: float
) -> "subprocess.CompletedProcess[str]":
    """Run one of our programs without input and return what it printed.

    Args:
        command: The program and its arguments. What a user named stands behind
            ``--``, or is a path that begins with ``/`` or ``./``.
        timeout_s: When it is killed, in seconds.

    Raises:
        subprocess.TimeoutExpired: It was.
        SystemExit: This process got SIGTERM; the child has ended.
    """
    import subprocess  # all programs import this module, few start others

    with (
        _ended_by_sigterm(),
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            process_group=0,
            env=environment_of_child(),
        ) as process,
    ):
        try:
            out, err = process.communicate(timeout=timeout_s)
        finally:
            _kill_group(process)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def environment_of_child() -> dict[str, str]:
    """Return this process's environment, with which a child ends when this does."""
    return {**os.environ, PARENT_VARIABLE: str(os.getpid())}


def end_with_parent() -> None:
    """Let the kernel kill this process when the one that started it ends.

    Does nothing where nobody asked for it in the environment.
    """
    parent = os.environ.pop(PARENT_VARIABLE, "")
    if not parent:
        return
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if str(os.getppid()) != parent:  # it ended before the kernel was asked
        os.kill(os.getpid(), signal.SIGKILL)


def _kill_group(process: "subprocess.Popen[str]") -> None:
    """Kill the child, and what it left behind in its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end this process by an exception, so that things are tidied up."""
    handled = signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    if handled or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(_ENDED_BY + number)

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
