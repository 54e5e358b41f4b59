"""One batch: from a message's bytes to rows and a watermark, or why it cannot be.

The writer thread and ``hub ingest quarantine replay`` both go through here, so what is
replayed is judged and committed exactly as if it had just come.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from msgspec import UNSET
from sqlalchemy import Connection

from edge_agent.wire import topics
from edge_agent.wire.batch import MAX_COMPRESSED_BYTES, Batch, Rows, decode_batch
from edge_agent.wire.control import Ack
from edge_agent.wire.errors import WireError
from edge_agent.wire.topics import Lane
from hub.ingest.dedupe import advance
from hub.storage import clones, device_days, records
from hub.storage.poison import MAX_REASON
from hub.storage.streams import Stream, StreamKey, open_streams, save_streams

SHOWN_NUMBERS = 8
MAX_EVICTED = 2**31 - 1
"""What the table holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """A batch that can be read, and the stream that it belongs to."""

    key: StreamKey
    batch: Batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Poison:
    """Why a message cannot be read."""

    reason: str

    @classmethod
    def because(cls, reason: str) -> Self:
        """Return it with the reason cut: that may quote what came."""
        return cls(reason=reason[:MAX_REASON])


@dataclass(slots=True)
class Outcome:
    """What a transaction decided; to be published only after its commit."""

    acks: dict[StreamKey, Ack] = field(default_factory=dict)
    differing: dict[int, str] = field(default_factory=dict)
    """By place in the group: what of a batch is committed already as something else."""
    gone: dict[str, int] = field(default_factory=dict)
    """By device: how many of its records were deleted because of its quota."""
    rows: int = 0
    redelivered: int = 0


@dataclass(slots=True)
class _Rows:
    """What a group brought of one stream: rows that are new, and that may not be."""

    fresh: Rows = field(default_factory=list)
    again: Rows = field(default_factory=list)
    suspects: dict[int, Rows] = field(default_factory=dict)
    gap_to: int = 0
    ask: int = 0


def read_batch(topic: str, payload: bytes) -> Arrived | Poison:
    """Decode a message's batch, or say why it cannot be."""
    address = topics.parse(topic)
    if address is None or not isinstance(address.kind, Lane):
        return Poison.because("not a topic of a device's lane")
    if len(payload) > MAX_COMPRESSED_BYTES:
        return Poison.because(f"{len(payload)} bytes are too large")
    try:
        batch = decode_batch(payload)
    except WireError as error:
        return Poison.because(str(error))
    header = batch.header
    if header.lane is not address.kind:
        return Poison.because(f"lane {header.lane} came on {address.kind}")
    key = StreamKey(device=address.device, boot=header.boot, lane=header.lane)
    return Arrived(key=key, batch=batch)


def store_batches(
    connection: Connection, arrived: Sequence[Arrived], *, at: float, quota: int = 0
) -> Outcome:
    """Insert the rows of batches received ``at``, and move their streams' watermarks.

    Rows that are there already are compared: two processes that count alike, but not
    the same, are two devices with one id. Beyond ``quota`` bytes of a device and day
    (0: none) its oldest records are deleted.

    Returns:
        The acknowledgements that hold once the transaction is committed.
    """
    device_days.open_days(connection, {one.key.device for one in arrived}, at)
    streams = open_streams(connection, {one.key for one in arrived})
    brought = {key: _Rows() for key in streams}
    for place, one in enumerate(arrived):
        _sort(streams[one.key], brought[one.key], one.batch, place)
    outcome = Outcome()
    sizes = _write(connection, streams, brought, outcome, at)
    for key, rows in brought.items():
        outcome.acks[key] = _ack(key, streams[key], rows)
    for place, detail in outcome.differing.items():
        device = arrived[place].key.device
        clones.note_clone(connection, device, clones.TWO_CONTENTS, detail=detail, at=at)
    labels = [(key.device, rows.fresh + rows.again) for key, rows in brought.items()]
    records.write_labels(connection, labels, at)
    save_streams(connection, streams.values())
    outcome.gone = device_days.add_written(connection, sizes, at, quota)
    return outcome


def _write(
    connection: Connection,
    streams: dict[StreamKey, Stream],
    brought: dict[StreamKey, _Rows],
    outcome: Outcome,
    at: float,
) -> Counter[str]:
    """Insert rows; return what they add to the database, by device."""
    fresh = [(streams[key].id, rows.fresh) for key, rows in brought.items()]
    written = records.write_rows(connection, fresh, at)
    sizes: Counter[str] = Counter()
    for key, rows in brought.items():
        stream = streams[key]
        again = records.write_rows(connection, [(stream.id, rows.again)], at)
        outcome.rows += len(rows.fresh) + len(rows.again) + stream.redelivered
        stream.redelivered += len(rows.again) - again.new
        outcome.redelivered += stream.redelivered
        sizes[key.device] += written.sizes[stream.id]
        if again.new:
            sizes[key.device] += again.sizes[stream.id]
        if again.new < len(rows.again):
            outcome.differing |= _compare(connection, key, stream, rows.suspects)
    return sizes


def _sort(stream: Stream, rows: _Rows, batch: Batch, place: int) -> None:
    """Take a batch's rows: above the highest number yet, none can be there."""
    header = batch.header
    new = advance(stream.watermark, header)
    stream.watermark = new.watermark
    stream.evicted = max(stream.evicted, min(header.evicted, MAX_EVICTED))
    rows.ask = header.ask or rows.ask
    if new.gap:
        rows.gap_to = max(rows.gap_to, header.hi)
    pruned = max(0, min(len(batch.rows), stream.pruned - header.lo + 1))
    known = max(0, min(len(batch.rows), stream.top - header.lo + 1))
    stream.redelivered += pruned
    if again := batch.rows[pruned:known]:
        rows.again += again
        rows.suspects[place] = again
    rows.fresh += batch.rows[known:]
    if batch.rows:
        stream.top = max(stream.top, header.hi)


def _compare(
    connection: Connection, key: StreamKey, stream: Stream, suspects: dict[int, Rows]
) -> dict[int, str]:
    """Say which records of batches are not those that were committed before."""
    found: dict[int, str] = {}
    for place, rows in suspects.items():
        numbers = records.find_different(connection, stream.id, rows)
        if numbers:
            shown = ", ".join(map(str, numbers[:SHOWN_NUMBERS]))
            more = ", …" if len(numbers) > SHOWN_NUMBERS else ""
            found[place] = (
                f"other records are committed as {shown}{more} of boot {key.boot},"
                f" lane {key.lane}: two devices use the id {key.device}"
            )
    return found


def _ack(key: StreamKey, stream: Stream, rows: _Rows) -> Ack:
    return Ack(
        boot=key.boot,
        lane=key.lane,
        upto=stream.watermark,
        gap=rows.gap_to > stream.watermark,
        ask=rows.ask or UNSET,
    )
