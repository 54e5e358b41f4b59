"""A process of its own for models that nobody depends on: its limits, and its end.

Used by the self-test and the paired test. Most bad models die inside the interpreter's
native code: in such a process that costs nothing but the process. It may use so much
processor time, write and open hardly anything, start nothing, and map no more than the
runtime itself and the budget of its releases. Imports no interpreter: the parent's half
runs in the supervisor.
"""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

FILE_BYTES = 1 << 20
OPEN_FILES = 64
SPARE_BYTES = 64 << 20
"""Address space beyond the budget: what is mapped is not all resident."""
STATM = Path("/proc/self/statm")
POLL_S = 0.2
MAX_DETAIL = 500
NICENESS = 10


def limit_process(cpu_s: int) -> None:
    """Bound processor time, file sizes and open files of this process."""
    for limit, most in (
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (most, most))


def limit_models(budget_bytes: int) -> None:
    """Bound what models may map and start, once the runtime itself is loaded.

    What the runtime maps beyond its resident pages is not the models'; of the rest
    the releases' budget is the limit. With one thread LiteRT starts no other.
    """
    try:
        pages = [int(field) for field in STATM.read_text("ascii").split()[:2]]
    except (OSError, ValueError):
        return  # Not Linux: there is no such limit to derive.
    mapped, resident = (n * resource.getpagesize() for n in pages)
    most = SPARE_BYTES + max(mapped - resident + budget_bytes, mapped)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))


def step_back() -> None:
    """Let everything else on the device go first, as far as the system knows how.

    Linux derives the priority at the disk from the niceness.
    """
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a process ended: its status, what it wrote, and whether it had to be killed.

    ``late``: it was killed because its time was over.
    """

    returncode: int
    out: bytes
    err: bytes
    late: bool = False


def run_limited(
    arguments: Sequence[str],
    wall_s: float,
    *,
    interrupted: Callable[[], bool],
    pass_fds: Sequence[int] = (),
) -> Ended | None:
    """Run a module of this package in a process of its own, until it ends or is late.

    Args:
        arguments: The module's name and its arguments.
        wall_s: When it is killed, in seconds.
        interrupted: Asked all along; true kills it at once.
        pass_fds: File descriptors that it needs.

    Returns:
        How it ended; ``None``: it was interrupted and says nothing.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        pass_fds=pass_fds,
    )
    deadline = time.monotonic() + wall_s
    with process:
        while True:
            try:
                out, err = process.communicate(timeout=POLL_S)
                return Ended(returncode=process.returncode, out=out, err=err)
            except subprocess.TimeoutExpired:
                late = time.monotonic() > deadline
                if not late and not interrupted():
                    continue
            process.kill()
            out, err = process.communicate()
            if not late:
                return None
            return Ended(returncode=process.returncode, out=out, err=err, late=True)


def describe_end(returncode: int, err: bytes) -> str:
    """Return how a process ended and the last line that it complained with."""
    how = (
        f"died of {_signal_name(-returncode)}"
        if returncode < 0
        else f"exited with {returncode}"
    )
    tail = err.decode(errors="replace").strip().splitlines()[-1:]
    return ": ".join([how, *tail])[:MAX_DETAIL]


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
