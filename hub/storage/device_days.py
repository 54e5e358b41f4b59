"""Repository of what each device has had stored on each day, and the quota on it.

A day is one of UTC, by the hub's time of receipt. What is counted is everything that a
record makes the database keep: its body, the row of a label once more, and what a row
takes in tables and indexes. Beyond the quota the device's oldest records of that day
go, samples and metrics first, in the transaction that brought the new ones; streams
remember it (``pruned``), so nothing that was deleted comes back.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import (
    Connection,
    Row,
    bindparam,
    delete,
    func,
    select,
    update,
)

from edge_agent.wire.records import KIND_OF, FeedbackRecord
from edge_agent.wire.topics import Lane
from hub.storage.db import insert_many
from hub.storage.tables import DEVICE_DAYS, FEEDBACK, RECORDS, STREAMS

DAY_S = 86_400.0
ROW_BYTES = 100
"""What a row takes beside its body, about: columns, and two indexes."""
MANY_REFUSED = 100
"""Messages a day: a device that was away for long may lose its pace for a moment."""
BULK = (Lane.SAMPLE, Lane.METRIC)
_LABEL = KIND_OF[FeedbackRecord]
_CHUNK = 500
_CHUNKS = 40
"""A transaction deletes at most so many chunks of a device's records."""
_NAMES = (
    "device",
    "day",
    "bytes",
    "gone_rows",
    "gone_bytes",
    "refused",
    "bulk_after",
    "any_after",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceDay:
    """A device's day: what is kept, what was deleted again or not taken at all."""

    device: str
    day: int
    bytes: int
    gone_rows: int
    gone_bytes: int
    refused: int


class _Label(msgspec.Struct):
    """What the row of a label is found by."""

    sample_id: str
    release: int


_decode_label = msgspec.json.Decoder(_Label).decode


@dataclass(slots=True)
class _Shrinking:
    """How much must go yet, and what has gone."""

    over: int
    rows: int = 0
    size: int = 0


def day_of(at: float) -> int:
    """Return the number of the day (UTC) since 1970-01-01."""
    return int(at // DAY_S)


def size_of(kind: str, body: int) -> int:
    """Return what a record with a body of so many bytes is counted as."""
    return ROW_BYTES + (2 * body + ROW_BYTES if kind == _LABEL else body)


def open_days(connection: Connection, devices: Collection[str], at: float) -> None:
    """Begin the day of devices that bring something for the first time on it.

    Call it before their records are written: the quota deletes from here on.
    """
    day = day_of(at)
    known = set(
        connection.scalars(
            select(DEVICE_DAYS.c.device).where(
                DEVICE_DAYS.c.day == day, DEVICE_DAYS.c.device.in_(list(devices))
            )
        )
    )
    missing = [device for device in devices if device not in known]
    if missing:
        last = connection.scalar(select(func.max(RECORDS.c.id))) or 0
        rows = [(device, day, 0, 0, 0, 0, last, last) for device in missing]
        insert_many(connection, DEVICE_DAYS, _NAMES, rows)


def add_written(
    connection: Connection, written: Mapping[str, int], at: float, limit: int
) -> dict[str, int]:
    """Count bytes written by devices, and delete what is beyond ``limit`` (0: none).

    Returns:
        By device, how many of its records were deleted.
    """
    day = day_of(at)
    rows = [{"who": device, "more": size} for device, size in written.items() if size]
    if rows:
        connection.execute(
            update(DEVICE_DAYS)
            .where(DEVICE_DAYS.c.device == bindparam("who"), DEVICE_DAYS.c.day == day)
            .values(bytes=DEVICE_DAYS.c.bytes + bindparam("more")),
            rows,
        )
    if not (limit and rows):
        return {}
    over = connection.execute(
        select(DEVICE_DAYS).where(
            DEVICE_DAYS.c.day == day,
            DEVICE_DAYS.c.device.in_(list(written)),
            DEVICE_DAYS.c.bytes > limit,
        )
    ).all()
    return {
        row.device: _shrink(connection, row.device, day, row.bytes - limit)
        for row in over
    }


def note_refused(connection: Connection, refused: Mapping[str, int], at: float) -> None:
    """Count messages of devices that were not taken."""
    open_days(connection, refused.keys(), at)
    rows = [{"who": device, "more": count} for device, count in refused.items()]
    connection.execute(
        update(DEVICE_DAYS)
        .where(
            DEVICE_DAYS.c.device == bindparam("who"), DEVICE_DAYS.c.day == day_of(at)
        )
        .values(refused=DEVICE_DAYS.c.refused + bindparam("more")),
        rows,
    )


def list_over(connection: Connection, at: float) -> list[DeviceDay]:
    """Return the days that are not over and had something deleted, or much refused."""
    days = DEVICE_DAYS.c
    rows = connection.execute(
        select(
            days.device,
            days.day,
            days.bytes,
            days.gone_rows,
            days.gone_bytes,
            days.refused,
        )
        .where(
            days.day == day_of(at),
            (days.gone_rows > 0) | (days.refused >= MANY_REFUSED),
        )
        .order_by(days.device)
    )
    return [DeviceDay(**row) for row in rows.mappings()]


def forget_days(connection: Connection, before: float) -> None:
    """Delete the days that ended before a time."""
    connection.execute(delete(DEVICE_DAYS).where(DEVICE_DAYS.c.day < day_of(before)))


def _shrink(connection: Connection, device: str, day: int, over: int) -> int:
    """Delete at least ``over`` bytes of a device's day, as far as there are so many.

    Returns:
        How many records that were.
    """
    left = _Shrinking(over=over)
    mine = (DEVICE_DAYS.c.device == device, DEVICE_DAYS.c.day == day)
    for lanes, column in (
        (BULK, DEVICE_DAYS.c.bulk_after),
        (tuple(Lane), DEVICE_DAYS.c.any_after),
    ):
        if left.over > 0:
            after = connection.scalar(select(column).where(*mine)) or 0
            after = _delete_oldest(connection, device, lanes, after, left)
            values = {column.name: after}
            connection.execute(update(DEVICE_DAYS).where(*mine).values(values))
    connection.execute(
        update(DEVICE_DAYS)
        .where(*mine)
        .values(
            bytes=DEVICE_DAYS.c.bytes - left.size,
            gone_rows=DEVICE_DAYS.c.gone_rows + left.rows,
            gone_bytes=DEVICE_DAYS.c.gone_bytes + left.size,
        )
    )
    return left.rows


def _delete_oldest(
    connection: Connection,
    device: str,
    lanes: Sequence[Lane],
    after: int,
    left: _Shrinking,
) -> int:
    """Delete records above number ``after``; return up to where none is left."""
    streams = select(STREAMS.c.id).where(
        STREAMS.c.device == device, STREAMS.c.lane.in_([str(lane) for lane in lanes])
    )
    for _ in range(_CHUNKS):
        if left.over <= 0:
            break
        # The sum keeps SQLite from going by stream: in the order of numbers, what was
        # looked at once is never looked at again.
        found = connection.execute(
            select(RECORDS.c.id, RECORDS.c.stream, RECORDS.c.seq, RECORDS.c.kind)
            .add_columns(RECORDS.c.body)
            .where(RECORDS.c.id > after, (RECORDS.c.stream + 0).in_(streams))
            .order_by(RECORDS.c.id)
            .limit(_CHUNK)
        ).all()
        doomed = []
        for row in found:
            if left.over <= 0:
                break
            size = size_of(row.kind, len(row.body.encode()))
            left.over, left.size = left.over - size, left.size + size
            doomed.append(row)
        if not doomed:
            return connection.scalar(select(func.max(RECORDS.c.id))) or after
        after = doomed[-1].id
        left.rows += len(doomed)
        _delete(connection, device, doomed)
    return after


def _delete(connection: Connection, device: str, doomed: Sequence[Row[Any]]) -> None:
    """Delete records and the labels that came with them."""
    numbers = [row.id for row in doomed]
    connection.execute(delete(RECORDS).where(RECORDS.c.id.in_(numbers)))
    tops: dict[int, int] = {}
    for row in doomed:
        tops[row.stream] = max(row.seq, tops.get(row.stream, 0))
    connection.execute(
        update(STREAMS)
        .where(STREAMS.c.id == bindparam("of"), STREAMS.c.pruned < bindparam("upto"))
        .values(pruned=bindparam("upto")),
        [{"of": stream, "upto": top} for stream, top in tops.items()],
    )
    labels = [
        {"found": label.sample_id, "on": label.release}
        for label in (_decode_label(r.body) for r in doomed if r.kind == _LABEL)
    ]
    if labels:
        connection.execute(
            delete(FEEDBACK).where(
                FEEDBACK.c.device == device,
                FEEDBACK.c.sample_id == bindparam("found"),
                FEEDBACK.c.release == bindparam("on"),
            ),
            labels,
        )
