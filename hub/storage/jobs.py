"""Repository of training jobs."""

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, Row, insert, select, update

from hub.storage.tables import JOBS, ROLLOUTS


class JobKind(StrEnum):
    """Why a job runs: an operator asked for it, or an alert."""

    TRAIN = "train"
    RETRAIN = "retrain"


class JobState(StrEnum):
    """Where a job is."""

    COLLECTING = "collecting"
    """Labelled samples are asked of devices; there is no job file yet."""
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


OPEN = (JobState.COLLECTING, JobState.QUEUED, JobState.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """A job. ``folder`` holds its files; ``release`` is what became of its bundle."""

    id: str
    kind: JobKind
    state: JobState
    folder: str
    reason: str = ""
    alert: int | None = None
    pid: int | None = None
    exit_code: int | None = None
    release: int | None = None
    error: str = ""
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None


def insert_job(connection: Connection, row: JobRow) -> None:
    """Store a new job."""
    connection.execute(insert(JOBS).values(id=row.id, kind=row.kind, **_changing(row)))


def update_job(connection: Connection, row: JobRow) -> None:
    """Store what may change of a job."""
    connection.execute(update(JOBS).where(JOBS.c.id == row.id).values(**_changing(row)))


def get_job(connection: Connection, job: str) -> JobRow | None:
    """Return one job, or ``None``."""
    row = connection.execute(select(JOBS).where(JOBS.c.id == job)).one_or_none()
    return None if row is None else _job(row)


def list_jobs(connection: Connection, *, only_open: bool = False) -> list[JobRow]:
    """Return jobs, oldest first."""
    found = select(JOBS).order_by(JOBS.c.created_at, JOBS.c.id)
    if only_open:
        found = found.where(JOBS.c.state.in_([str(state) for state in OPEN]))
    return [_job(row) for row in connection.execute(found)]


def last_retrain(connection: Connection) -> JobRow | None:
    """Return the newest retrain job, or ``None``."""
    row = connection.execute(
        select(JOBS)
        .where(JOBS.c.kind == str(JobKind.RETRAIN))
        .order_by(JOBS.c.created_at.desc(), JOBS.c.id.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else _job(row)


def retrained_without_rollout(connection: Connection) -> list[JobRow]:
    """Return retrain jobs whose release was never rolled out, nor refused to be."""
    rolled_out = select(ROLLOUTS.c.release)
    rows = connection.execute(
        select(JOBS)
        .where(JOBS.c.kind == str(JobKind.RETRAIN), JOBS.c.error == "")
        .where(JOBS.c.state == str(JobState.DONE), JOBS.c.release.is_not(None))
        .where(JOBS.c.release.not_in(rolled_out))
        .order_by(JOBS.c.created_at, JOBS.c.id)
    )
    return [_job(row) for row in rows]


def _changing(row: JobRow) -> dict[str, object]:
    return {
        "state": str(row.state),
        "folder": row.folder,
        "reason": row.reason,
        "alert": row.alert,
        "pid": row.pid,
        "exit_code": row.exit_code,
        "release": row.release,
        "error": row.error,
        "created_at": row.created_at,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
    }


def _job(row: Row[tuple[object, ...]]) -> JobRow:
    return JobRow(
        id=row.id,
        kind=JobKind(row.kind),
        state=JobState(row.state),
        folder=row.folder,
        reason=row.reason,
        alert=row.alert,
        pid=row.pid,
        exit_code=row.exit_code,
        release=row.release,
        error=row.error,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )
