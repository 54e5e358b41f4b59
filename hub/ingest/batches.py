"""One batch: from a message's bytes to rows and a watermark, or why it cannot be.

The writer thread and ``hub ingest quarantine replay`` both go through here, so what is
replayed is judged and committed exactly as if it had just come.
"""

from dataclasses import dataclass, field

from sqlalchemy import Connection

from edge_agent.wire import topics
from edge_agent.wire.batch import MAX_COMPRESSED_BYTES, Batch, decode_batch
from edge_agent.wire.errors import WireError
from edge_agent.wire.topics import Lane
from hub.ingest.dedupe import advance
from hub.storage import clones, records
from hub.storage.records import StreamKey

SHOWN_NUMBERS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """A batch that can be read, and the stream that it belongs to."""

    key: StreamKey
    batch: Batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Poison:
    """Why a message cannot be read."""

    reason: str


@dataclass(slots=True)
class Outcome:
    """What a transaction decided; to be published only after its commit."""

    watermarks: dict[StreamKey, int] = field(default_factory=dict)
    gaps: dict[StreamKey, int] = field(default_factory=dict)
    asks: dict[StreamKey, int] = field(default_factory=dict)
    differing: dict[StreamKey, list[int]] = field(default_factory=dict)
    """Numbers of the newest batch under which another record is committed already."""
    rows: int = 0
    redelivered: int = 0


def read_batch(topic: str, payload: bytes) -> Arrived | Poison:
    """Decode a message's batch, or say why it cannot be."""
    address = topics.parse(topic)
    if address is None or not isinstance(address.kind, Lane):
        return Poison(reason="not a topic of a device's lane")
    if len(payload) > MAX_COMPRESSED_BYTES:
        return Poison(reason=f"{len(payload)} bytes are too large")
    try:
        batch = decode_batch(payload)
    except WireError as error:
        return Poison(reason=str(error))
    header = batch.header
    if header.lane is not address.kind:
        return Poison(reason=f"lane {header.lane} came on {address.kind}")
    key = StreamKey(device=address.device, boot=header.boot, lane=header.lane)
    return Arrived(key=key, batch=batch)


def store_batch(
    connection: Connection, arrived: Arrived, *, at: float, outcome: Outcome
) -> None:
    """Insert a batch's rows, received ``at``, and move its stream's watermark.

    Rows that are there already are compared: two processes that count alike, but not
    the same, are two devices with one id.
    """
    key, header = arrived.key, arrived.batch.header
    known = outcome.watermarks.get(key)
    if known is None:
        known = records.read_watermark(connection, key)
    redelivered = records.write_rows(connection, key, arrived.batch.rows, at)
    outcome.differing.pop(key, None)
    if redelivered and (
        differing := records.find_different(connection, key, arrived.batch.rows)
    ):
        outcome.differing[key] = differing
        detail = describe_differing(key, differing)
        clones.note_clone(
            connection, key.device, clones.TWO_CONTENTS, detail=detail, at=at
        )
    new = advance(known, header)
    records.write_stream(
        connection,
        key,
        watermark=new.watermark,
        evicted=header.evicted,
        redelivered=redelivered,
    )
    outcome.watermarks[key] = new.watermark
    if header.ask:
        outcome.asks[key] = header.ask
    if new.gap:
        outcome.gaps[key] = max(outcome.gaps.get(key, 0), header.hi)
    outcome.rows += len(arrived.batch.rows)
    outcome.redelivered += redelivered


def describe_differing(key: StreamKey, numbers: list[int]) -> str:
    """Say which records of a batch are not those that were committed before."""
    shown = ", ".join(map(str, numbers[:SHOWN_NUMBERS]))
    more = ", …" if len(numbers) > SHOWN_NUMBERS else ""
    return (
        f"other records are committed as {shown}{more} of boot {key.boot},"
        f" lane {key.lane}: two devices use the id {key.device}"
    )
