"""Repository of streams: how far the records of one device, boot and lane have come.

``watermark`` is what a device is told and deletes up to; ``top`` is the highest number
that was ever committed, so rows above it cannot be there yet; up to ``pruned`` records
were deleted because of their age or number, and must not come back.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sqlalchemy import (
    Connection,
    bindparam,
    case,
    delete,
    func,
    select,
    tuple_,
    update,
)

from edge_agent.wire.topics import Lane
from hub.storage.db import insert_many
from hub.storage.tables import RECORDS, STREAMS

MAX_STREAMS = 8192
"""Of one device: four lanes and 2,000 starts, five a day for a year."""
_FORGOTTEN = 512
_NAMES = ("device", "boot", "lane", "watermark", "top", "evicted", "redelivered")
_SAVE = (
    update(STREAMS)
    .where(STREAMS.c.id == bindparam("stream"))
    .values(
        watermark=bindparam("to"),
        top=bindparam("highest"),
        # A batch that comes late tells an older count.
        evicted=case(
            (STREAMS.c.evicted < bindparam("gone"), bindparam("gone")),
            else_=STREAMS.c.evicted,
        ),
        redelivered=STREAMS.c.redelivered + bindparam("again"),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamKey:
    """Whose records these are: a device, one start of it, one lane."""

    device: str
    boot: str
    lane: Lane


@dataclass(slots=True, kw_only=True)
class Stream:
    """A stream as a transaction found it, then as it leaves it.

    ``evicted`` and ``redelivered`` are what this transaction learned, not the sums.
    """

    id: int
    watermark: int
    top: int
    pruned: int = 0
    evicted: int = 0
    redelivered: int = 0


def open_streams(
    connection: Connection, keys: Collection[StreamKey]
) -> dict[StreamKey, Stream]:
    """Return the streams, new ones at 0, locked until the transaction ends."""
    found = _read(connection, keys)
    missing = [key for key in keys if key not in found]
    if missing:
        rows = [(k.device, k.boot, str(k.lane), 0, 0, 0, 0) for k in missing]
        insert_many(connection, STREAMS, _NAMES, rows)
        for device in {key.device for key in missing}:
            _forget_oldest(connection, device)
        found |= _read(connection, missing)
    return found


def _forget_oldest(connection: Connection, device: str) -> None:
    """Delete a device's oldest streams, with their records, beyond the bound.

    Some more than must go, so that not each new stream pays for it.
    """
    mine = STREAMS.c.device == device
    count = connection.scalar(select(func.count()).select_from(STREAMS).where(mine))
    if (count or 0) <= MAX_STREAMS:
        return
    oldest = list(
        connection.scalars(
            select(STREAMS.c.id).where(mine).order_by(STREAMS.c.id).limit(_FORGOTTEN)
        )
    )
    connection.execute(delete(RECORDS).where(RECORDS.c.stream.in_(oldest)))
    connection.execute(delete(STREAMS).where(STREAMS.c.id.in_(oldest)))


def save_streams(connection: Connection, streams: Iterable[Stream]) -> None:
    """Write back what a transaction learned of its streams."""
    rows = [
        {
            "stream": one.id,
            "to": one.watermark,
            "highest": one.top,
            "gone": one.evicted,
            "again": one.redelivered,
        }
        for one in streams
    ]
    if rows:
        connection.execute(_SAVE, rows)


def _read(
    connection: Connection, keys: Collection[StreamKey]
) -> dict[StreamKey, Stream]:
    wanted = [(key.device, key.boot, str(key.lane)) for key in keys]
    columns = STREAMS.c
    rows = connection.execute(
        select(
            columns.id,
            columns.device,
            columns.boot,
            columns.lane,
            columns.watermark,
            columns.top,
            columns.pruned,
        )
        .where(tuple_(columns.device, columns.boot, columns.lane).in_(wanted))
        .with_for_update()
    )
    return {
        StreamKey(device=row.device, boot=row.boot, lane=Lane(row.lane)): Stream(
            id=row.id, watermark=row.watermark, top=row.top, pruned=row.pruned
        )
        for row in rows
    }
