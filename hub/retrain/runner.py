"""Launches queued jobs, watches running ones, and takes their bundles in.

One trainer at a time in a process: training takes all the processors there are.
Called by ``hub/retrain/service.py``.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

from sqlalchemy import Engine

from edge_agent.base.clock import Clock
from edge_agent.base.exit_codes import ExitCode, ShoalError
from edge_agent.base.regular import read_regular
from edge_agent.wire import codec
from edge_agent.wire.errors import WireError
from edge_agent.wire.manifest import BUNDLE_FILE, Bundle
from hub.retrain.job_files import BUNDLE_FOLDER, give_other_seed
from hub.retrain.launch import Ended, Supervision, trainer_command
from hub.storage import jobs
from hub.storage.db import transaction
from hub.storage.jobs import JobKind, JobRow, JobState

log = logging.getLogger(__name__)

JOB_STARTED = "job.started"
JOB_ENDED = "job.ended"
JOB_OTHER_SEED = "job.other_seed"

WAIT_S = 0.5
_NEVER = Event()

TakeIn = Callable[[Path], int]
"""Bundle folder to release number."""
Command = Callable[[Path], Sequence[str]]
"""Job folder to the command that runs it."""


@dataclass(slots=True, kw_only=True)
class _Running:
    """The job that this process supervises. ``deadline_s`` is on the steady clock."""

    job: JobRow
    supervision: Supervision
    deadline_s: float


class JobRunner:
    """Supervises at most one job's process."""

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        take_in: TakeIn,
        timeout_s: float,
        command: Command = trainer_command,
    ) -> None:
        """Prepare to run jobs, each for at most ``timeout_s``."""
        self._engine, self._clock, self._take_in = engine, clock, take_in
        self._timeout_s, self._command = timeout_s, command
        self._running: _Running | None = None

    def step(self, open_jobs: Sequence[JobRow]) -> None:
        """Look after the running job, else take up the oldest that can run."""
        if self._running is None:
            for job in open_jobs:
                if job.state is not JobState.COLLECTING and self._take_up(job):
                    break
        self._look()

    def run(self, job: JobRow) -> None:
        """Run one job until it ends, here or wherever it is supervised."""
        while job.state in jobs.OPEN:
            if self._running is None and job.state is not JobState.COLLECTING:
                self._take_up(job)
            if self._running is not None:
                self._running.supervision.wait(WAIT_S)
                self._look()
            else:
                self._pause()
            job = self._reread(job)

    def close(self) -> None:
        """Kill the process that runs, and put its job back into the queue."""
        running, self._running = self._running, None
        if running is None:
            return
        running.supervision.kill()
        self._store(replace(running.job, state=JobState.QUEUED, pid=None))
        running.supervision.release()

    def _take_up(self, job: JobRow) -> bool:
        """Launch a queued job, or go on with one that lost its supervisor."""
        folder = Path(job.folder)
        supervision = Supervision.claim(folder)
        if supervision is None:
            return False
        job = self._reread(job)  # it may have ended before the lock was ours
        deadline_s = self._clock.mono() + self._timeout_s
        if job.state is JobState.RUNNING and job.pid is not None:
            supervision.adopt(job.pid)
        elif job.state is JobState.QUEUED:
            try:
                pid = supervision.launch(self._command(folder))
            except ShoalError as error:
                self._store(self._failed(job, str(error)))
                supervision.release()
                return False
            job = replace(
                job, state=JobState.RUNNING, pid=pid, started_at=self._clock.wall()
            )
            self._store(job)
            log.info(JOB_STARTED, extra={"job": job.id, "pid": pid})
        else:
            supervision.release()
            return False
        self._running = _Running(
            job=job, supervision=supervision, deadline_s=deadline_s
        )
        return True

    def _look(self) -> None:
        """Judge the process if it has ended or its time is up."""
        running = self._running
        if running is None:
            return
        ended = running.supervision.poll()
        if ended is None:
            if self._clock.mono() < running.deadline_s:
                return
            running.supervision.kill()
            job = self._failed(running.job, f"killed after {self._timeout_s:.0f} s")
        else:
            job = self._judge(running, ended)
        self._store(job)
        log.info(JOB_ENDED, extra={"job": job.id, "state": str(job.state)})
        running.supervision.release()
        self._running = None

    def _judge(self, running: _Running, ended: Ended) -> JobRow:
        """Take the bundle in, or say why there is none to take."""
        job = replace(running.job, exit_code=ended.exit_code)
        folder = Path(job.folder) / BUNDLE_FOLDER
        bundle = read_bundle(folder)
        refused = ended.exit_code == ExitCode.REFUSED
        if refused or (ended.exit_code is None and bundle and not bundle.gate.ok):
            return self._refused(job, f"refused by the gate{_explain(bundle)}")
        if ended.exit_code not in (ExitCode.OK, None) or bundle is None:
            tail = running.supervision.log_tail()
            return self._failed(
                job, f"the trainer ended with {ended.exit_code}: {tail}"
            )
        try:
            release = self._take_in(folder)
        except ShoalError as error:
            return self._failed(job, str(error))
        return replace(
            job,
            state=JobState.DONE,
            release=release,
            error="",
            finished_at=self._clock.wall(),
        )

    def _refused(self, job: JobRow, why: str) -> JobRow:
        """Train a retrained model once more with another seed, or give it up.

        Seeds alone move its accuracy on the gate's few people by about three points,
        so one refusal is often the seed's. An operator's job tells the operator.
        """
        if job.kind is not JobKind.RETRAIN:
            return self._failed(job, why)
        try:
            seed = give_other_seed(Path(job.folder))
        except ShoalError as error:
            return self._failed(job, f"{why}; {error}")
        if seed is None:
            return self._failed(job, f"{why}, with two seeds")
        log.info(JOB_OTHER_SEED, extra={"job": job.id, "seed": seed, "reason": why})
        return replace(
            job,
            state=JobState.QUEUED,
            pid=None,
            exit_code=None,
            error=f"{why}; once more with seed {seed}",
        )

    def _failed(self, job: JobRow, reason: str) -> JobRow:
        return replace(
            job,
            state=JobState.FAILED,
            error=reason,
            finished_at=self._clock.wall(),
        )

    def _pause(self) -> None:
        """Wait a little for the process that supervises the job."""
        _NEVER.wait(WAIT_S)

    def _reread(self, job: JobRow) -> JobRow:
        with self._engine.connect() as connection:
            return jobs.get_job(connection, job.id) or job

    def _store(self, job: JobRow) -> None:
        with transaction(self._engine) as connection:
            jobs.update_job(connection, job)


def read_bundle(folder: Path) -> Bundle | None:
    """Read a finished bundle's manifest; ``None`` if it is not complete."""
    try:
        return codec.decode(
            read_regular(folder / BUNDLE_FILE, codec.MAX_DOCUMENT_BYTES), Bundle
        )
    except (OSError, WireError):
        return None


def _explain(bundle: Bundle | None) -> str:
    """Name the checks that failed, with what was observed and allowed."""
    if bundle is None:
        return ""
    failed = [
        f"{check.name} {check.observed:.4g} (limit {check.limit:.4g})"
        for check in bundle.gate.checks
        if not check.ok
    ]
    return ": " + ", ".join(failed) if failed else ""
