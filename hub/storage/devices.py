"""Devices, their assignments and the commands to them, in the database.

Plain functions over one connection; the caller owns the transaction. Called by
:mod:`hub.devices`, :mod:`hub.rollout`, the ingest writer and the command line.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Connection, Row, bindparam, case, insert, select, update

from edge_agent.wire import codec
from edge_agent.wire.control import Presence, Reported, TufVersions
from edge_agent.wire.errors import WireError
from hub.storage.tables import ASSIGNMENTS, COMMANDS, DEVICES

_Stored = TypeVar("_Stored", Presence, Reported)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRow:
    """What the hub knows about one device; ``release`` is what it reports.

    ``retired_at``: since when it takes part in nothing any more (``None``: it does).
    """

    id: str
    first_seen_at: float
    last_seen_at: float
    online: bool
    boot: str
    presence: Presence | None
    reported: Reported | None
    cohort: str
    release: int
    sha256: str
    clock_offset_s: float
    retired_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignmentRow:
    """The newest assignment of a device; ``envelope`` is empty once withdrawn."""

    device: str
    seq: int
    release: int
    rollout: str
    envelope: str
    issued_at: float
    published_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRow:
    """A command that has not yet been handed to the broker."""

    id: int
    device: str
    envelope: str
    expires_at: float


def touch(conn: Connection, device: str, at: float, cohort: str = "") -> None:
    """Note that the hub heard of a device at ``at``; register an unknown one."""
    seen = select(DEVICES.c.last_seen_at).where(DEVICES.c.id == device)
    last = conn.execute(seen).scalar_one_or_none()
    if last is None:
        conn.execute(
            insert(DEVICES).values(
                id=device, first_seen_at=at, last_seen_at=at, cohort=cohort
            )
        )
        return
    values: dict[str, object] = {"last_seen_at": max(at, last)}
    if cohort:
        values["cohort"] = cohort
    conn.execute(update(DEVICES).where(DEVICES.c.id == device).values(values))


def list_ids(conn: Connection) -> set[str]:
    """Return the ids of all devices that were ever heard of."""
    return set(conn.scalars(select(DEVICES.c.id)))


def note_heard(conn: Connection, offsets_s: Mapping[str, float], at: float) -> None:
    """Note that batches of devices came at ``at``; register unknown ones.

    Args:
        conn: Of a transaction.
        offsets_s: By device id, how far its wall clock is behind the hub's.
        at: The hub's wall time.
    """
    known = set(
        conn.scalars(select(DEVICES.c.id).where(DEVICES.c.id.in_(list(offsets_s))))
    )
    unknown = [device for device in offsets_s if device not in known]
    for device in unknown:
        touch(conn, device, at)
    conn.execute(
        update(DEVICES)
        .where(DEVICES.c.id == bindparam("device"))
        .values(
            clock_offset_s=bindparam("offset_s"),
            last_seen_at=case(
                (DEVICES.c.last_seen_at < at, at), else_=DEVICES.c.last_seen_at
            ),
        ),
        [
            {"device": device, "offset_s": offset_s}
            for device, offset_s in offsets_s.items()
        ],
    )


def get_device(conn: Connection, device: str) -> DeviceRow | None:
    """Return one device, or ``None``."""
    row = conn.execute(select(DEVICES).where(DEVICES.c.id == device)).one_or_none()
    return None if row is None else _device(row)


def list_devices(conn: Connection) -> list[DeviceRow]:
    """Return all devices by id."""
    return [
        _device(row) for row in conn.execute(select(DEVICES).order_by(DEVICES.c.id))
    ]


def store_retired(conn: Connection, device: str, at: float | None) -> None:
    """Note since when a device is retired; ``None`` takes it back."""
    where = DEVICES.c.id == device
    conn.execute(update(DEVICES).where(where).values(retired_at=at))


def retired_devices(conn: Connection) -> set[str]:
    """Return the devices that are retired."""
    return set(
        conn.scalars(select(DEVICES.c.id).where(DEVICES.c.retired_at.is_not(None)))
    )


def store_presence(conn: Connection, presence: Presence, *, cohort: str) -> None:
    """Store a birth or a will that the caller judged to be news."""
    values: dict[str, object] = {
        "online": presence.online,
        "boot": presence.boot,
        "presence": codec.encode(presence).decode(),
    }
    if cohort:
        values["cohort"] = cohort
    conn.execute(update(DEVICES).where(DEVICES.c.id == presence.device).values(values))


def store_reported(conn: Connection, reported: Reported) -> None:
    """Store a reported twin that the caller judged to be news."""
    conn.execute(
        update(DEVICES)
        .where(DEVICES.c.id == reported.device)
        .values(
            reported=codec.encode(reported).decode(),
            release=reported.release,
            sha256=reported.sha256,
        )
    )


def get_assignment(conn: Connection, device: str) -> AssignmentRow | None:
    """Return the newest assignment of a device, or ``None``."""
    found = select(ASSIGNMENTS).where(ASSIGNMENTS.c.device == device)
    row = conn.execute(found).one_or_none()
    return None if row is None else _assignment(row)


def list_assignments(conn: Connection) -> dict[str, AssignmentRow]:
    """Return the newest assignment of each device."""
    return {
        row.device: _assignment(row)
        for row in conn.execute(select(ASSIGNMENTS).order_by(ASSIGNMENTS.c.device))
    }


def put_assignment(conn: Connection, row: AssignmentRow) -> None:
    """Replace a device's assignment; it is published by the next flush."""
    values = {
        "seq": row.seq,
        "release": row.release,
        "rollout": row.rollout,
        "envelope": row.envelope,
        "issued_at": row.issued_at,
        "published_at": row.published_at,
    }
    if get_assignment(conn, row.device) is None:
        conn.execute(insert(ASSIGNMENTS).values(device=row.device, **values))
    else:
        where = ASSIGNMENTS.c.device == row.device
        conn.execute(update(ASSIGNMENTS).where(where).values(values))


def unpublished_assignments(conn: Connection) -> list[AssignmentRow]:
    """Return the assignments that the broker does not have yet."""
    found = select(ASSIGNMENTS).where(ASSIGNMENTS.c.published_at.is_(None))
    return [_assignment(row) for row in conn.execute(found)]


def mark_assignment(conn: Connection, device: str, seq: int, at: float) -> None:
    """Note that the broker has assignment ``seq`` of a device."""
    conn.execute(
        update(ASSIGNMENTS)
        .where(ASSIGNMENTS.c.device == device, ASSIGNMENTS.c.seq == seq)
        .values(published_at=at)
    )


def assignments_not_by(conn: Connection, keyid: str) -> list[AssignmentRow]:
    """Return the assignments whose envelope another key signed, without the withdrawn.

    A key id is 64 hex digits: it stands nowhere in an envelope that it did not sign.
    """
    found = select(ASSIGNMENTS).where(
        ASSIGNMENTS.c.envelope != "", ASSIGNMENTS.c.envelope.not_like(f"%{keyid}%")
    )
    return [_assignment(row) for row in conn.execute(found)]


def replace_assignment_envelope(
    conn: Connection, device: str, seq: int, envelope: str
) -> None:
    """Give assignment ``seq`` of a device another signature, to be published."""
    conn.execute(
        update(ASSIGNMENTS)
        .where(ASSIGNMENTS.c.device == device, ASSIGNMENTS.c.seq == seq)
        .values(envelope=envelope, published_at=None)
    )


def unmark_assignments(conn: Connection) -> None:
    """Forget what the broker has: all assignments are published again."""
    conn.execute(update(ASSIGNMENTS).values(published_at=None))


def reserve_command(conn: Connection, device: str, expires_at: float) -> int:
    """Insert a command without its envelope and return its rising id."""
    result = conn.execute(
        insert(COMMANDS).values(device=device, envelope="", expires_at=expires_at)
    )
    key = result.inserted_primary_key
    if key is None:
        message = "the database returned no key"
        raise RuntimeError(message)
    return int(key[0])


def fill_command(conn: Connection, command: int, envelope: str) -> None:
    """Give a reserved command its signed envelope."""
    where = COMMANDS.c.id == command
    conn.execute(update(COMMANDS).where(where).values(envelope=envelope))


def unpublished_commands(conn: Connection, now: float) -> list[CommandRow]:
    """Return the commands to be sent, oldest first, without the expired."""
    found = (
        select(COMMANDS)
        .where(COMMANDS.c.published_at.is_(None), COMMANDS.c.expires_at > now)
        .order_by(COMMANDS.c.id)
    )
    return [_command(row) for row in conn.execute(found)]


def commands_not_by(conn: Connection, keyid: str, now: float) -> list[CommandRow]:
    """Return the commands that have not expired and that another key signed."""
    found = select(COMMANDS).where(
        COMMANDS.c.expires_at > now,
        COMMANDS.c.envelope != "",
        COMMANDS.c.envelope.not_like(f"%{keyid}%"),
    )
    return [_command(row) for row in conn.execute(found)]


def replace_command_envelope(conn: Connection, command: int, envelope: str) -> None:
    """Give a command another signature, to be published."""
    conn.execute(
        update(COMMANDS)
        .where(COMMANDS.c.id == command)
        .values(envelope=envelope, published_at=None)
    )


def mark_command(conn: Connection, command: int, at: float) -> None:
    """Note that the broker has a command."""
    where = COMMANDS.c.id == command
    conn.execute(update(COMMANDS).where(where).values(published_at=at))


def releases_in_use(conn: Connection) -> set[int]:
    """Return the releases that any device runs, keeps as previous, or shall run.

    What only retired devices have is used by nobody.
    """
    used = {row.release for row in conn.execute(select(ASSIGNMENTS.c.release))}
    for device in list_devices(conn):
        if device.retired_at is not None:
            continue
        used.add(device.release)
        if device.reported is not None:
            used.add(device.reported.previous)
    return used - {0}


def highest_trusted(
    conn: Connection, own: TufVersions, leap: TufVersions
) -> TufVersions:
    """Return the highest metadata versions that devices say they trust.

    Versions further than ``leap`` above the hub's ``own`` are left out: what one device
    makes up must not hide what the others say.
    """
    twins = [device.reported for device in list_devices(conn)]

    def highest(name: str) -> int:
        limit = getattr(own, name) + getattr(leap, name)
        seen = [getattr(twin.tuf, name) for twin in twins if twin is not None]
        return max((at for at in seen if at <= limit), default=0)

    names = TufVersions.__struct_fields__
    return TufVersions(**{name: highest(name) for name in names})


def _readable(text: str, kind: type[_Stored]) -> _Stored | None:
    """Decode a document that was stored; ``None`` for one that is not allowed now."""
    try:
        return codec.decode(text.encode(), kind) if text else None
    except WireError:
        return None


def _device(row: Row[tuple[object, ...]]) -> DeviceRow:
    presence, reported = row.presence, row.reported
    return DeviceRow(
        id=row.id,
        first_seen_at=row.first_seen_at,
        last_seen_at=row.last_seen_at,
        online=row.online,
        boot=row.boot,
        presence=_readable(presence, Presence),
        reported=_readable(reported, Reported),
        cohort=row.cohort,
        release=row.release,
        sha256=row.sha256,
        clock_offset_s=row.clock_offset_s,
        retired_at=row.retired_at,
    )


def _command(row: Row[tuple[object, ...]]) -> CommandRow:
    return CommandRow(
        id=row.id,
        device=row.device,
        envelope=row.envelope,
        expires_at=row.expires_at,
    )


def _assignment(row: Row[tuple[object, ...]]) -> AssignmentRow:
    return AssignmentRow(
        device=row.device,
        seq=row.seq,
        release=row.release,
        rollout=row.rollout,
        envelope=row.envelope,
        issued_at=row.issued_at,
        published_at=row.published_at,
    )
