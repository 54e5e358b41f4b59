"""Rollouts in the database. Plain functions; the caller owns the transaction."""

from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection, Row, delete, func, insert, select, update

from edge_agent.wire.types import prepare
from hub.rollout.plan import Plan
from hub.rollout.states import BACKWARD, CLOSED, State
from hub.storage.tables import ROLLOUT_DEVICES, ROLLOUT_EVENTS, ROLLOUTS

prepare(Plan)


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutRow:
    """A rollout as stored."""

    id: str
    release: int
    incumbent: int
    state: State
    stage: int
    plan: Plan
    reason: str
    created_at: float
    updated_at: float
    stage_started_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutDeviceRow:
    """One device that got the candidate, and what became of it.

    ``retried_after`` says after what failure it got it once more; ``prior_release`` is
    what it goes back to (``None``: the incumbent; 0: nothing).
    """

    rollout: str
    device: str
    stage: int
    assigned_seq: int
    assigned_at: float
    outcome: str
    code: str
    detail: str
    decided_at: float | None
    retries: int = 0
    retried_after: str = ""
    prior_release: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutEventRow:
    """One transition with the facts it was decided on (JSON text)."""

    at: float
    from_state: str
    to_state: str
    reason: str
    inputs: str


def insert_rollout(conn: Connection, row: RolloutRow) -> None:
    """Store a new rollout."""
    conn.execute(
        insert(ROLLOUTS).values(
            id=row.id,
            release=row.release,
            incumbent=row.incumbent,
            state=str(row.state),
            stage=row.stage,
            plan=_encode_plan(row.plan),
            reason=row.reason,
            created_at=row.created_at,
            updated_at=row.updated_at,
            stage_started_at=row.stage_started_at,
        )
    )


def count_rollouts(conn: Connection) -> int:
    """Return how many rollouts there ever were."""
    return int(conn.execute(select(func.count()).select_from(ROLLOUTS)).scalar_one())


def get_rollout(conn: Connection, rollout: str) -> RolloutRow | None:
    """Return one rollout, or ``None``."""
    row = conn.execute(select(ROLLOUTS).where(ROLLOUTS.c.id == rollout)).one_or_none()
    return None if row is None else _rollout(row)


def list_rollouts(conn: Connection) -> list[RolloutRow]:
    """Return all rollouts, oldest first."""
    found = select(ROLLOUTS).order_by(ROLLOUTS.c.created_at, ROLLOUTS.c.id)
    return [_rollout(row) for row in conn.execute(found)]


def open_rollouts(conn: Connection) -> list[RolloutRow]:
    """Return the rollouts to which something can still happen, oldest first."""
    closed = [str(state) for state in CLOSED]
    found = (
        select(ROLLOUTS)
        .where(ROLLOUTS.c.state.not_in(closed))
        .order_by(ROLLOUTS.c.created_at, ROLLOUTS.c.id)
    )
    return [_rollout(row) for row in conn.execute(found)]


def last_completed(conn: Connection) -> RolloutRow | None:
    """Return the rollout whose release is the fleet's present one, or ``None``."""
    return next(iter(completed(conn, 1)), None)


def completed(conn: Connection, limit: int) -> list[RolloutRow]:
    """Return rollouts that completed, newest first."""
    found = (
        select(ROLLOUTS)
        .where(ROLLOUTS.c.state == str(State.COMPLETED))
        .order_by(ROLLOUTS.c.updated_at.desc())
        .limit(limit)
    )
    return [_rollout(row) for row in conn.execute(found)]


def store_plan(conn: Connection, rollout: str, plan: Plan) -> None:
    """Replace a rollout's plan: devices joined, or what it leaves out or lets pass."""
    where = ROLLOUTS.c.id == rollout
    conn.execute(update(ROLLOUTS).where(where).values(plan=_encode_plan(plan)))


def store_reason(conn: Connection, rollout: str, reason: str, at: float) -> None:
    """Replace the text that says why a rollout is where it is."""
    where = ROLLOUTS.c.id == rollout
    conn.execute(update(ROLLOUTS).where(where).values(reason=reason, updated_at=at))


def store_transition(
    conn: Connection, row: RolloutRow, event: RolloutEventRow, *, stage: int
) -> None:
    """Move a rollout to another state or stage, with the facts behind it."""
    # A HOLD belongs to its stage, whose clock goes on.
    started = row.stage_started_at if event.to_state == State.HOLD else event.at
    # On the way back, the rollout's reason remains why it was aborted.
    reason = row.reason if row.state in BACKWARD else event.reason
    conn.execute(
        update(ROLLOUTS)
        .where(ROLLOUTS.c.id == row.id)
        .values(
            state=event.to_state,
            stage=stage,
            reason=reason,
            updated_at=event.at,
            stage_started_at=started,
        )
    )
    insert_event(conn, row.id, event)


def insert_event(conn: Connection, rollout: str, event: RolloutEventRow) -> None:
    """Note what was decided about a rollout."""
    conn.execute(
        insert(ROLLOUT_EVENTS).values(
            rollout=rollout,
            at=event.at,
            from_state=event.from_state,
            to_state=event.to_state,
            reason=event.reason,
            inputs=event.inputs,
        )
    )


def list_events(conn: Connection, rollout: str) -> list[RolloutEventRow]:
    """Return a rollout's transitions, oldest first."""
    found = (
        select(ROLLOUT_EVENTS)
        .where(ROLLOUT_EVENTS.c.rollout == rollout)
        .order_by(ROLLOUT_EVENTS.c.id)
    )
    return [
        RolloutEventRow(
            at=row.at,
            from_state=row.from_state,
            to_state=row.to_state,
            reason=row.reason,
            inputs=row.inputs,
        )
        for row in conn.execute(found)
    ]


def insert_rollout_device(conn: Connection, row: RolloutDeviceRow) -> None:
    """Note that a device was assigned the candidate."""
    conn.execute(
        insert(ROLLOUT_DEVICES).values(
            rollout=row.rollout,
            device=row.device,
            stage=row.stage,
            assigned_seq=row.assigned_seq,
            assigned_at=row.assigned_at,
            outcome=row.outcome,
            code=row.code,
            detail=row.detail,
            decided_at=row.decided_at,
            retries=row.retries,
            retried_after=row.retried_after,
            prior_release=row.prior_release,
        )
    )


def drop_rollout_device(conn: Connection, rollout: str, device: str) -> None:
    """Forget that a rollout gave a device its candidate."""
    conn.execute(
        delete(ROLLOUT_DEVICES).where(
            ROLLOUT_DEVICES.c.rollout == rollout, ROLLOUT_DEVICES.c.device == device
        )
    )


def store_retry(conn: Connection, row: RolloutDeviceRow) -> None:
    """Note that a device was assigned the candidate once more."""
    conn.execute(
        update(ROLLOUT_DEVICES)
        .where(
            ROLLOUT_DEVICES.c.rollout == row.rollout,
            ROLLOUT_DEVICES.c.device == row.device,
        )
        .values(
            assigned_seq=row.assigned_seq,
            assigned_at=row.assigned_at,
            retries=row.retries,
            retried_after=row.retried_after,
        )
    )


def store_outcome(conn: Connection, row: RolloutDeviceRow) -> None:
    """Replace a device's outcome."""
    conn.execute(
        update(ROLLOUT_DEVICES)
        .where(
            ROLLOUT_DEVICES.c.rollout == row.rollout,
            ROLLOUT_DEVICES.c.device == row.device,
        )
        .values(
            outcome=row.outcome,
            code=row.code,
            detail=row.detail,
            decided_at=row.decided_at,
        )
    )


def rollout_devices(conn: Connection, rollout: str) -> dict[str, RolloutDeviceRow]:
    """Return the devices that a rollout gave its candidate."""
    found = (
        select(ROLLOUT_DEVICES)
        .where(ROLLOUT_DEVICES.c.rollout == rollout)
        .order_by(ROLLOUT_DEVICES.c.stage, ROLLOUT_DEVICES.c.device)
    )
    return {
        row.device: RolloutDeviceRow(
            rollout=row.rollout,
            device=row.device,
            stage=row.stage,
            assigned_seq=row.assigned_seq,
            assigned_at=row.assigned_at,
            outcome=row.outcome,
            code=row.code,
            detail=row.detail,
            decided_at=row.decided_at,
            retries=row.retries,
            retried_after=row.retried_after,
            prior_release=row.prior_release,
        )
        for row in conn.execute(found)
    }


def _encode_plan(plan: Plan) -> str:
    return msgspec.json.encode(plan).decode()


def _rollout(row: Row[tuple[object, ...]]) -> RolloutRow:
    return RolloutRow(
        id=row.id,
        release=row.release,
        incumbent=row.incumbent,
        state=State(row.state),
        stage=row.stage,
        plan=msgspec.json.decode(row.plan, type=Plan),
        reason=row.reason,
        created_at=row.created_at,
        updated_at=row.updated_at,
        stage_started_at=row.stage_started_at,
    )
