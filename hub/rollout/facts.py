"""Reading the facts of a rollout from the database, for the pure engine.

Update records count only if they speak of the very assignment that the rollout made,
and labels of the candidate only since then. Called by :mod:`hub.rollout.service`.
"""

from collections import Counter

from msgspec import UNSET
from sqlalchemy import Connection, select

from edge_agent.wire.batch import decode_record
from edge_agent.wire.records import ShadowSummary, UpdateRecord
from hub.rollout.judge import DeviceFacts, LabelCell
from hub.rollout.machine import RolloutFacts
from hub.storage import devices as device_store
from hub.storage import releases as release_store
from hub.storage import rollouts as store
from hub.storage.devices import DeviceRow
from hub.storage.rollouts import RolloutDeviceRow, RolloutRow
from hub.storage.tables import FEEDBACK, IS_UPDATE, RECORDS, RECORDS_OF_STREAMS, STREAMS

_RECENT_LABELS = 200
"""How many of a device's newest labels tell how good the incumbent is there."""


def gather(
    conn: Connection, row: RolloutRow, now: float, abort_reason: str = ""
) -> RolloutFacts:
    """Read everything that the next decision about a rollout may depend on."""
    release = release_store.get_release(conn, row.release)
    given = store.rollout_devices(conn, row.id)
    known = {device.id: device for device in device_store.list_devices(conn)}
    assignments = device_store.list_assignments(conn)
    return RolloutFacts(
        rollout=row.id,
        state=row.state,
        stage=row.stage,
        stage_started_at=row.stage_started_at,
        candidate=row.release,
        incumbent=row.incumbent,
        signed=release is not None and release.state == release_store.PUBLISHED,
        plan=row.plan,
        devices=[
            _device_facts(conn, known[name], stage, given.get(name), row, now)
            for name, stage in row.plan.devices.items()
            if name in known
        ],
        cells=[cell for device in given.values() for cell in _cells(conn, row, device)],
        given={
            name: assignments[name].release if assignments[name].envelope else 0
            for name in given
        },
        abort_reason=abort_reason,
    )


def is_boxed(device: DeviceRow, now: float) -> bool:
    """Tell whether a device says that it takes up nothing new for now."""
    until = device.reported.penalty_until if device.reported else UNSET
    return until is not UNSET and now < until


def is_pinned(device: DeviceRow) -> bool:
    """Tell whether a person at a device wants its release to stay."""
    return device.reported is not None and device.reported.pinned is True


def has_failed(device: DeviceRow, release: int) -> bool:
    """Tell whether a device says that a release failed there."""
    return device.reported is not None and release in device.reported.quarantined


def _device_facts(  # noqa: PLR0913, PLR0917 - rows of four tables
    conn: Connection,
    device: DeviceRow,
    stage: int,
    given: RolloutDeviceRow | None,
    row: RolloutRow,
    now: float,
) -> DeviceFacts:
    reported = device.reported
    updates = _updates(conn, given) if given else []
    ended = next((update for update in reversed(updates) if update.outcome), None)
    reported_seq = reported.assignment_seq if reported else 0
    assigned_seq = given.assigned_seq if given else 0
    # What a forced assignment overrides is still reported until it is taken up.
    stale = row.plan.forced and reported_seq < assigned_seq
    return DeviceFacts(
        device=device.id,
        stage=given.stage if given else stage,
        online=device.online,
        assigned_seq=assigned_seq,
        release=device.release,
        phase=reported.phase if reported else "",
        reported_seq=reported_seq,
        quarantined=has_failed(device, row.release) and not stale,
        boxed=is_pinned(device) or (is_boxed(device, now) and not row.plan.forced),
        heard=bool(updates),
        outcome=ended.outcome if ended else "",
        code=ended.code if ended else "",
        detail=ended.detail if ended else "",
        shadow=_shadow(updates),
    )


def _shadow(updates: list[UpdateRecord]) -> ShadowSummary | None:
    found = [update.shadow for update in updates if update.shadow is not UNSET]
    return found[-1] if found else None


def _updates(conn: Connection, given: RolloutDeviceRow) -> list[UpdateRecord]:
    """Return what a device said about the assignment, oldest first."""
    found = (
        select(RECORDS.c.body)
        .select_from(RECORDS_OF_STREAMS)
        .where(
            IS_UPDATE,
            STREAMS.c.device == given.device,
            RECORDS.c.received_at >= given.assigned_at,
        )
        .order_by(RECORDS.c.received_at, RECORDS.c.seq)
    )
    records = [decode_record(body.encode()) for body in conn.execute(found).scalars()]
    return [
        record
        for record in records
        if isinstance(record, UpdateRecord)
        and record.assignment_seq == given.assigned_seq
    ]


def _cells(
    conn: Connection, row: RolloutRow, given: RolloutDeviceRow
) -> list[LabelCell]:
    """Count labelled predictions of candidate and incumbent on one device."""
    columns = select(FEEDBACK.c.label, FEEDBACK.c.correct)
    candidate = columns.where(
        FEEDBACK.c.device == given.device,
        FEEDBACK.c.release == row.release,
        FEEDBACK.c.received_at >= given.assigned_at,
    )
    incumbent = (
        columns.where(
            FEEDBACK.c.device == given.device, FEEDBACK.c.release == row.incumbent
        )
        .order_by(FEEDBACK.c.predicted_at.desc())
        .limit(_RECENT_LABELS)
    )
    counts: Counter[tuple[str, str, bool]] = Counter()
    for who, query in (("candidate", candidate), ("incumbent", incumbent)):
        for label, correct in conn.execute(query):
            counts[who, label, bool(correct)] += 1

    def total(who: str, label: str) -> int:
        return counts[who, label, True] + counts[who, label, False]

    return [
        LabelCell(
            device=given.device,
            label=label,
            candidate_n=total("candidate", label),
            candidate_correct=counts["candidate", label, True],
            incumbent_n=total("incumbent", label),
            incumbent_correct=counts["incumbent", label, True],
        )
        for label in sorted({key[1] for key in counts})
    ]
