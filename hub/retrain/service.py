"""Steps training jobs: from an alert to a release, one job at a time.

The row is written before anything is done, so a restart goes on where it stopped: a
collecting job asks the devices once, a queued one is launched, a running one is
watched until its process is gone. The ticker of ``hub serve`` calls
:meth:`RetrainService.tick`; without one, ``hub train start`` runs its job with
:meth:`RetrainService.run_job`.
"""

import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sqlalchemy import Engine

from edge_agent.base.clock import Clock
from edge_agent.base.exit_codes import ShoalError
from edge_agent.wire.job import Incumbent, Job
from hub.alerts.evidence import DriftEvidence
from hub.config import Home, HubConfig
from hub.errors import NotFoundError
from hub.faults import Fault, classify
from hub.monitor.observe import ACCURACY, DRIFT
from hub.retrain.job_files import (
    BUNDLE_FOLDER,
    SAMPLES_FILE,
    read_devices,
    write_devices,
    write_job,
    write_samples,
)
from hub.retrain.runner import JobRunner, TakeIn
from hub.retrain.trigger import (
    AlertFacts,
    Limits,
    Move,
    decide_begin,
    decide_collecting,
)
from hub.storage import jobs, records
from hub.storage.alerts import AlertRow, get_alert, list_alerts
from hub.storage.db import transaction
from hub.storage.jobs import JobKind, JobRow, JobState
from hub.storage.releases import PUBLISHED, get_release, list_releases

log = logging.getLogger(__name__)

RETRAIN_STARTED = "retrain.started"
RETRAIN_ROLL_OUT = "retrain.roll_out"

Collect = Callable[[list[str], int, str], None]
"""Devices, most samples of each, and the reason."""
RollOut = Callable[[int], str]
"""Release to rollout id."""


class RetrainService:
    """Retraining and training jobs. Safe to have in several processes."""

    def __init__(  # noqa: PLR0913 - three ports besides what every service has
        self,
        engine: Engine,
        home: Home,
        config: HubConfig,
        clock: Clock,
        *,
        collect: Collect,
        take_in: TakeIn,
        roll_out: RollOut,
    ) -> None:
        """Prepare; nothing runs before :meth:`tick` or :meth:`run_job`."""
        self._engine, self._home, self._clock = engine, home, clock
        self._config = config.retrain
        self._limits = Limits(
            enabled=config.retrain.enabled,
            min_samples=config.retrain.min_samples,
            cooldown_s=config.retrain.cooldown_s,
            timeout_s=config.retrain.timeout_s,
        )
        self._collect, self._roll_out = collect, roll_out
        self._runner = JobRunner(engine, clock, take_in, config.retrain.timeout_s)

    def tick(self) -> None:
        """Begin a job if an alert asks for one, and step the open ones."""
        with self._engine.connect() as connection:
            open_jobs = jobs.list_jobs(connection, only_open=True)
            alerts = list_alerts(connection, only_open=True)
        if not any(job.kind is JobKind.RETRAIN for job in open_jobs):
            open_jobs += self._begin(alerts)
        for job in open_jobs:
            if job.state is JobState.COLLECTING:
                try:
                    self._gather(job)
                except Exception as error:
                    if classify(error) is not Fault.DATA:
                        raise
                    self._give_up(job, f"{error.__class__.__name__}: {error}"[:1024])
        self._runner.step(open_jobs)
        self._roll_out_retrained()

    def start_job(
        self,
        *,
        task: str,
        name: str,
        settings: Mapping[str, str] | None = None,
        seed: int = 7,
        reason: str = "",
    ) -> str:
        """Queue a training job without samples of devices; return its id.

        The newest published release of this name, if any, is the incumbent.
        """
        row = self._new_job(JobKind.TRAIN, JobState.QUEUED, reason=reason)
        with self._engine.connect() as connection:
            published = [
                r.release
                for r in list_releases(connection)
                if r.name == name and r.state == PUBLISHED
            ]
        write_job(
            Path(row.folder),
            Job(
                id=row.id,
                task=task,
                name=name,
                out=str(Path(row.folder) / BUNDLE_FOLDER),
                seed=seed,
                incumbent=self._incumbent(published[-1]) if published else None,
                settings=dict(settings or {}),
            ),
        )
        with transaction(self._engine) as connection:
            jobs.insert_job(connection, row)
        return row.id

    def run_job(self, job_id: str) -> JobRow:
        """Run a queued job in the foreground, or wait for whoever runs it.

        Raises:
            NotFoundError: There is no such job (``HUB-RETRAIN-003``).
        """
        self._runner.run(self.get_job(job_id))
        self._roll_out_retrained()
        return self.get_job(job_id)

    def get_job(self, job_id: str) -> JobRow:
        """Return one job.

        Raises:
            NotFoundError: There is no such job (``HUB-RETRAIN-003``).
        """
        with self._engine.connect() as connection:
            row = jobs.get_job(connection, job_id)
        if row is None:
            raise NotFoundError(
                "HUB-RETRAIN-003",
                f"there is no job {job_id}",
                cure="`hub train list` shows all",
            )
        return row

    def list_jobs(self) -> list[JobRow]:
        """Return all jobs, oldest first."""
        with self._engine.connect() as connection:
            return jobs.list_jobs(connection)

    def close(self) -> None:
        """Stop the trainer that this process runs; its job is queued again."""
        self._runner.close()

    def _begin(self, alerts: Sequence[AlertRow]) -> list[JobRow]:
        with self._engine.connect() as connection:
            last = jobs.last_retrain(connection)
        now = self._clock.wall()
        rested_s = now - (last.finished_at or now) if last else None
        for alert in alerts:
            if alert.rule != DRIFT or not isinstance(alert.evidence, DriftEvidence):
                continue
            move = decide_begin(
                _facts(alert, alerts),
                self._limits,
                has_open_job=False,
                rested_s=rested_s,
            )
            if move is Move.COLLECT and self._is_taught_here(alert.release):
                row = replace(
                    self._new_job(
                        JobKind.RETRAIN, JobState.COLLECTING, reason=alert.summary
                    ),
                    alert=alert.id,
                )
                with transaction(self._engine) as connection:
                    jobs.insert_job(connection, row)
                log.info(RETRAIN_STARTED, extra={"job": row.id, "alert": alert.id})
                return [row]
        return []

    def _is_taught_here(self, release: int) -> bool:
        """Tell whether the configured task made a release.

        A model made elsewhere has a task of its own: whoever made it teaches it.
        """
        with self._engine.connect() as connection:
            row = get_release(connection, release)
        return row is not None and row.manifest.bundle.task == self._config.task

    def _ask(self, job: JobRow, evidence: DriftEvidence) -> list[str]:
        """Ask each drifting device for samples, once; return all that were asked.

        Devices that start to drift while the job collects are asked then. Asking is
        noted in the job's folder; after a crash in between it is done again.
        """
        folder = Path(job.folder)
        asked = read_devices(folder)
        new = [d.device for d in evidence.devices if d.device not in asked]
        if new:
            self._collect(new, self._config.max_samples_per_device, job.reason[:1024])
            write_devices(folder, [*asked, *new])
        return [*asked, *new]

    def _gather(self, job: JobRow) -> None:
        with self._engine.connect() as connection:
            alert = get_alert(connection, job.alert or 0)
        if alert is None or not isinstance(alert.evidence, DriftEvidence):
            self._give_up(job, f"its alert {job.alert} is gone")
            return
        devices = self._ask(job, alert.evidence)
        with self._engine.connect() as connection:
            samples = records.count_samples(connection, devices, job.created_at)
        waited_s = self._clock.wall() - job.created_at
        move = decide_collecting(samples, waited_s, self._limits)
        if move is Move.GIVE_UP:
            self._give_up(
                job,
                f"{samples} of {self._limits.min_samples} samples came"
                f" in {waited_s:.0f} s",
            )
        elif move is Move.START:
            self._queue(job, alert, devices)

    def _queue(self, job: JobRow, alert: AlertRow, devices: Sequence[str]) -> None:
        """Write the job's files; the runner takes it from there."""
        folder = Path(job.folder)
        try:
            with self._engine.connect() as connection:
                release = get_release(connection, alert.release)
                samples = records.read_samples(connection, devices, job.created_at)
                write_samples(folder, samples)
            if release is None:
                self._give_up(job, f"release {alert.release} is gone")
                return
            write_job(
                folder,
                Job(
                    id=job.id,
                    task=self._config.task,
                    name=release.name,
                    out=str(folder / BUNDLE_FOLDER),
                    seed=self._config.seed,
                    samples=str(folder / SAMPLES_FILE),
                    incumbent=self._incumbent(alert.release),
                    settings=self._config.settings,
                ),
            )
        except (ShoalError, OSError) as error:
            if classify(error) is Fault.RESOURCE:
                raise  # It comes back: the job waits for it.
            self._give_up(job, str(error))
            return
        self._store(replace(job, state=JobState.QUEUED))

    def _roll_out_retrained(self) -> None:
        """Roll out what retraining made, where the configuration says so.

        What is to be done is read from the database, not remembered: a hub that dies
        between taking a bundle in and starting its rollout does it after its restart.
        """
        if not self._config.auto_rollout:
            return
        with self._engine.connect() as connection:
            waiting = jobs.retrained_without_rollout(connection)
        for job in waiting:
            try:
                rollout = self._roll_out(job.release or 0)
            except ShoalError as error:
                self._store(replace(job, error=f"not rolled out: {error}"))
                log.warning(
                    RETRAIN_ROLL_OUT, extra={"job": job.id, "reason": str(error)}
                )
            else:
                log.info(RETRAIN_ROLL_OUT, extra={"job": job.id, "rollout": rollout})

    def _incumbent(self, release: int) -> Incumbent:
        folder = (self._home.releases / str(release)).resolve()
        return Incumbent(release=release, bundle=str(folder))

    def _new_job(self, kind: JobKind, state: JobState, *, reason: str) -> JobRow:
        job = f"{kind}-{secrets.token_hex(4)}"
        folder = (self._home.jobs / job).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        return JobRow(
            id=job,
            kind=kind,
            state=state,
            folder=str(folder),
            reason=reason,
            created_at=self._clock.wall(),
        )

    def _give_up(self, job: JobRow, reason: str) -> None:
        self._store(
            replace(
                job,
                state=JobState.FAILED,
                error=reason,
                finished_at=self._clock.wall(),
            )
        )

    def _store(self, job: JobRow) -> None:
        with transaction(self._engine) as connection:
            jobs.update_job(connection, job)


def _facts(drift: AlertRow, alerts: Sequence[AlertRow]) -> AlertFacts:
    """Gather what the open alerts say of the release and cohort of a drift alert."""
    evidence = drift.evidence
    return AlertFacts(
        drift_firing=drift.is_firing,
        accuracy_firing=any(
            alert.rule == ACCURACY
            and alert.is_firing
            and (alert.release, alert.cohort) == (drift.release, drift.cohort)
            for alert in alerts
        ),
        confidence_change=(
            evidence.confidence_change if isinstance(evidence, DriftEvidence) else None
        ),
    )
