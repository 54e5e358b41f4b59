"""Reading the facts of a rollout from the database, for the pure engine.

Update records count only if they speak of the very assignment that the rollout made,
and labels of the candidate only since then. Called by :mod:`hub.rollout.service`.
"""

from collections import Counter
from typing import TypeVar

from msgspec import UNSET
from sqlalchemy import Connection, and_, or_, select

from edge_agent.wire.control import PAIRED_TEST
from edge_agent.wire.records import PairedSummary, ShadowSummary, UpdateRecord
from hub.rollout.device_facts import DeviceFacts
from hub.rollout.gone import gone_devices
from hub.rollout.label_pairs import DeviceLoss, LabelCell, measure_loss
from hub.rollout.machine import RolloutFacts
from hub.storage import devices as device_store
from hub.storage import releases as release_store
from hub.storage import rollouts as store
from hub.storage.devices import DeviceRow
from hub.storage.records import read_stored
from hub.storage.releases import ReleaseRow
from hub.storage.rollouts import RolloutDeviceRow, RolloutRow
from hub.storage.tables import FEEDBACK, IS_UPDATE, RECORDS, RECORDS_OF_STREAMS, STREAMS

_Summary = TypeVar("_Summary", ShadowSummary, PairedSummary)
_CODE = 32
"""What the tables hold of a code; those of an agent are shorter."""
_RECENT_LABELS = 200
"""How many of a device's newest labels tell how good the incumbent is there."""
_MAX_PAIRS = 1024
"""How many of a device's newest pairs count: no device's labels slow the hub."""


def gather(
    conn: Connection, row: RolloutRow, now: float, abort_reason: str = ""
) -> RolloutFacts:
    """Read everything that the next decision about a rollout may depend on.

    Devices that are gone are in none of it: nobody waits for them, nothing that they
    said counts.
    """
    release = release_store.get_release(conn, row.release)
    gone = gone_devices(conn)
    given = {
        name: device
        for name, device in store.rollout_devices(conn, row.id).items()
        if name not in gone
    }
    known = {
        device.id: device
        for device in device_store.list_devices(conn)
        if device.id not in gone
    }
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
            _device_facts(conn, known[name], stage, given.get(name), row, now, release)
            for name, stage in row.plan.devices.items()
            if name in known
        ],
        cells=[cell for device in given.values() for cell in _cells(conn, row, device)],
        given={
            name: assignments[name].release if assignments[name].envelope else 0
            for name in given
        },
        prior={
            name: device.prior_release
            for name, device in given.items()
            if device.prior_release is not None
        },
        losses=[loss for d in given.values() if (loss := _loss(conn, row, d))],
        abort_reason=abort_reason,
    )


def runs(device: DeviceRow, candidate: ReleaseRow | None) -> int:
    """Return the release that a device runs, 0 if it is another one of this number.

    The digest of the model decides: a hub that was restored gives a number again.
    """
    if candidate is None or device.release != candidate.release:
        return device.release
    same = device.sha256 in {"", candidate.model_sha256}
    return device.release if same else 0


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
    release: ReleaseRow | None,
) -> DeviceFacts:
    reported = device.reported
    updates = _updates(conn, given) if given else []
    ends = [place for place, (_, update) in enumerate(updates) if update.outcome]
    ended_at, ended = updates[ends[-1]] if ends else (0.0, None)
    on_the_way = [u.phase for _, u in updates[: ends[-1]]] if ends else []
    reported_seq = reported.assignment_seq if reported else 0
    assigned_seq = given.assigned_seq if given else 0
    # What a forced assignment overrides is still reported until it is taken up.
    forced = row.plan.forced or (given is not None and given.retries > 0)
    stale = forced and reported_seq < assigned_seq
    return DeviceFacts(
        device=device.id,
        stage=given.stage if given else stage,
        online=device.online,
        hardware=hardware_of(device),
        assigned_seq=assigned_seq,
        release=runs(device, release),
        phase=reported.phase if reported else "",
        reported_seq=reported_seq,
        quarantined=has_failed(device, row.release) and not stale,
        boxed=is_pinned(device) or (is_boxed(device, now) and not forced),
        heard=bool(updates),
        outcome=ended.outcome if ended else "",
        evidence=ended.evidence if ended and ended.evidence is not UNSET else "",
        code=ended.code[:_CODE] if ended else "",
        detail=ended.detail if ended else "",
        failed_in=on_the_way[-1] if on_the_way else "",
        ended_at=ended_at,
        retries=given.retries if given else 0,
        tells_evidence=tells_evidence(device),
        shadow=_newest([u.shadow for _, u in updates if u.shadow is not UNSET]),
        paired=_newest([u.paired for _, u in updates if u.paired is not UNSET]),
    )


def tells_evidence(device: DeviceRow) -> bool:
    """Tell whether a device's agent says on what evidence it commits a release."""
    presence = device.presence
    return presence is not None and PAIRED_TEST in presence.capabilities


def hardware_of(device: DeviceRow) -> str:
    """Return a device's hardware class ("": it names none)."""
    return device.presence.hardware if device.presence else ""


def _newest(found: list[_Summary]) -> _Summary | None:
    return found[-1] if found else None


def _updates(
    conn: Connection, given: RolloutDeviceRow
) -> list[tuple[float, UpdateRecord]]:
    """Return what a device said about the assignment and when, oldest first."""
    found = (
        select(RECORDS.c.received_at, RECORDS.c.body)
        .select_from(RECORDS_OF_STREAMS)
        .where(
            IS_UPDATE,
            STREAMS.c.device == given.device,
            RECORDS.c.received_at >= given.assigned_at,
        )
        .order_by(RECORDS.c.received_at, RECORDS.c.seq)
    )
    records = [
        (received_at, read_stored(body)) for received_at, body in conn.execute(found)
    ]
    return [
        (received_at, record)
        for received_at, record in records
        if isinstance(record, UpdateRecord)
        and record.assignment_seq == given.assigned_seq
    ]


def _loss(
    conn: Connection, row: RolloutRow, given: RolloutDeviceRow
) -> DeviceLoss | None:
    """Measure one device's loss where labels name the answers of both releases."""
    incumbent = row.incumbent if given.prior_release is None else given.prior_release
    ours, others = FEEDBACK.c.release, FEEDBACK.c.other_release
    found = (
        select(ours, FEEDBACK.c.correct, FEEDBACK.c.other_correct)
        .where(
            FEEDBACK.c.device == given.device,
            FEEDBACK.c.received_at >= given.assigned_at,
            or_(
                and_(ours == row.release, others == incumbent),
                and_(ours == incumbent, others == row.release),
            ),
        )
        .order_by(FEEDBACK.c.predicted_at.desc(), FEEDBACK.c.id.desc())
        .limit(_MAX_PAIRS)
    )
    series = [
        int(other) - int(own) if release == row.release else int(own) - int(other)
        for release, own, other in conn.execute(found)
    ]
    return measure_loss(given.device, series[::-1]) if series else None


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
