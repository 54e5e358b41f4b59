"""The inference worker as the supervisor sees it: a child process and its answers.

The child is started again within a second of its death, more slowly when it keeps
dying. Two deaths while a release is on trial, or within ``CRASH_WINDOW_S`` of that, are
a crash loop: the owner is told *before* the next start, and which release it is, so
that it can put the previous one back. A child that hangs is killed by who finds out,
and counts as dead since it was last known to live.
The child ends when its standard input closes, so it never outlives the supervisor.
"""

import logging
import math
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec import UNSET

from edge_agent.base.clock import Clock
from edge_agent.evidence.memory import EvidenceMemory
from edge_agent.store.slots import Slots
from edge_agent.update.states import Phase

WORKER_STARTED = "worker.started"
WORKER_DIED = "worker.died"
RESTART_FIRST_S = 0.1
RESTART_MAX_S = 10.0
HEALTHY_AFTER_S = 30.0
CRASH_WINDOW_S = 30.0
CRASH_DEATHS = 2
STOP_S = 5.0
FRUGAL = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(128 << 10),
    "MALLOC_TRIM_THRESHOLD_": str(512 << 10),
    "PYTHONNODEBUGRANGES": "1",
}
"""glibc: one heap for all threads, which take turns at the interpreter's lock anyway;
large blocks outside of it, which would riddle it, and a free end kept for the next
request (without it one of 110 KiB costs 50 us more). Python: code without its columns.
"""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """How a child ended: its exit status, and what was hung if it was killed for it."""

    status: int
    hung: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildHooks:
    """Whom the child's watcher tells, on its own thread."""

    on_death: Callable[[Death], None]
    """The child died by itself, or was killed because it hung."""
    on_crash_loop: Callable[[int], None]
    """It died twice since it loaded this release; returns when that is dealt with."""


def worker_command(
    config_path: Path, boot: str, evidence: EvidenceMemory | None = None
) -> list[str]:
    """Return the command line of the worker process.

    Args:
        config_path: The configuration.
        boot: Id of this run of the agent.
        evidence: Memory of the ring of own inputs; it must be passed on.
    """
    program = [sys.executable, "-m", "edge_agent.worker"]
    command = [*program, "--config", str(config_path), "--boot", boot]
    if evidence is not None:
        command += ["--ring", str(evidence.fd), evidence.problem]
    return command


def worker_environment(inherited: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the worker's environment, frugal where nobody says otherwise."""
    return {**FRUGAL, **inherited}


def _is_in_shadow(slots: Slots) -> bool:
    """Tell whether the worker runs the candidate: a paired test is not in it."""
    return slots.assignment is not None and slots.assignment.shadow is not UNSET


class WorkerChild:
    """Starts, watches, restarts and stops the worker process."""

    def __init__(
        self,
        command: Sequence[str],
        clock: Clock,
        hooks: ChildHooks,
        pass_fds: Sequence[int] = (),
    ) -> None:
        """Prepare; :meth:`run` is the body of the watching thread.

        Args:
            command: The worker's command line.
            clock: For the times between deaths.
            hooks: Whom to tell of them.
            pass_fds: Descriptors that every start passes on.
        """
        self._pass_fds = tuple(pass_fds)
        self._command = list(command)
        self._clock = clock
        self._hooks = hooks
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._started = clock.mono()
        self._hung: tuple[str, float] | None = None
        self._blamed = 0
        self._blame_until = 0.0
        self._deaths_since = 0
        self.restarts = 0

    @property
    def pid(self) -> int:
        """Process id of the present child (0: none)."""
        return self.present[0]

    @property
    def present(self) -> tuple[int, float]:
        """Process id of the present child (0: none), and when it was started."""
        with self._lock:
            process = self._process
            return (process.pid if process is not None else 0), self._started

    def follow(self, slots: Slots) -> None:
        """Count deaths from now on as those of the release that is being tried."""
        after = self._clock.mono() + CRASH_WINDOW_S
        with self._lock:
            blamed, until = self._blamed, self._blame_until
            if slots.phase == Phase.SHADOW and _is_in_shadow(slots):
                blamed, until = slots.candidate, math.inf
            elif slots.phase in {Phase.ACTIVATE, Phase.PROBATION}:
                blamed, until = slots.active, math.inf
            elif slots.phase == Phase.ROLLBACK and blamed != slots.active:
                blamed, until = slots.active, after
            elif until == math.inf:  # The trial is over: of what serves, or of none.
                blamed, until = (blamed, after) if blamed == slots.active else (0, 0.0)
            if blamed != self._blamed:
                self._deaths_since = 0
            self._blamed, self._blame_until = blamed, until

    def run(self) -> None:
        """Keep a child running until :meth:`stop`."""
        pause_s = RESTART_FIRST_S
        while not self._stop.is_set():
            started = self._clock.mono()
            status = self._start().wait()
            if self._stop.is_set():
                return
            self._on_death(status)
            if self._clock.mono() - started > HEALTHY_AFTER_S:
                pause_s = RESTART_FIRST_S
            self._stop.wait(pause_s)
            pause_s = min(pause_s * 2, RESTART_MAX_S)

    def stop(self) -> None:
        """Let the child finish its work and end it, by force if it must be."""
        self._stop.set()
        with self._lock:
            process = self._process
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill_hung(self, pid: int, what: str, alive_at: float) -> None:
        """End a child that hangs, unless it has ended by itself.

        Args:
            pid: Which child is meant.
            what: What hangs.
            alive_at: Monotonic time when it was last known to live.
        """
        with self._lock:
            process = self._process
            if process is None or process.pid != pid or process.poll() is not None:
                return
            self._hung = (what, alive_at)
            process.kill()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._lock:
            # A pipe that is never written to: its end tells the child that we died.
            # A group of its own: Ctrl-C is for us, and we stop the child in order.
            self._process = subprocess.Popen(
                self._command,
                env=worker_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                process_group=0,
                pass_fds=self._pass_fds,
            )
            self._started = self._clock.mono()
            if self._stop.is_set():
                self._process.terminate()
        log.info(WORKER_STARTED, extra={"pid": self._process.pid})
        return self._process

    def _on_death(self, status: int) -> None:
        self.restarts += 1
        log.warning(WORKER_DIED, extra={"status": status, "restarts": self.restarts})
        with self._lock:
            if self._process is not None and self._process.stdin is not None:
                self._process.stdin.close()
            hung, died_at = self._hung or ("", self._clock.mono())
            self._hung = None
            soon = died_at < self._blame_until
            self._deaths_since += soon
            looping = soon and self._deaths_since >= CRASH_DEATHS
            blamed = self._blamed
        self._hooks.on_death(Death(status=status, hung=hung))
        if looping:
            self._hooks.on_crash_loop(blamed)
