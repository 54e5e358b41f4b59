"""The one writer of telemetry: queue, group commit, acknowledge.

Order is everything here: rows and watermarks are committed first, then the
application acknowledgement goes to the device, and only that one lets a device delete
anything. The PUBACK after it merely frees the broker's window. So a group that cannot
be committed, and a batch that finds the queue full, is dropped with a PUBACK and no
acknowledgement: the device sends it again. (Left without a PUBACK it would occupy the
broker's window until the next connection and stop the other devices' batches.)

``hub/service.py`` gives :meth:`IngestWriter.offer` to the link and runs
:meth:`IngestWriter.run` in the writer thread.
"""

import logging
import queue
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Event

from msgspec import UNSET
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from edge_agent.base.clock import Clock
from edge_agent.wire import codec, topics
from edge_agent.wire.batch import MAX_COMPRESSED_BYTES, Batch, decode_batch
from edge_agent.wire.control import Ack
from edge_agent.wire.errors import WireError
from edge_agent.wire.topics import Lane, Leaf
from hub.config import IngestConfig
from hub.ingest.dedupe import advance
from hub.storage import devices, records
from hub.storage.db import transaction
from hub.storage.records import StreamKey

log = logging.getLogger(__name__)

INGEST_FAILED = "ingest.failed"
INGEST_RECOVERED = "ingest.recovered"
INGEST_FULL = "ingest.full"
INGEST_POISON = "ingest.poison"

WAIT_S = 0.2

PublishAck = Callable[[str, bytes], object]
"""Topic and payload; need not wait, a lost acknowledgement is asked for again."""


@dataclass(slots=True)
class IngestStats:
    """What happened since the start; for status pages and tests."""

    batches: int = 0
    rows: int = 0
    redelivered: int = 0
    poison: int = 0
    dropped: int = 0
    failed_groups: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Message:
    """A message as it came, its batch if it has one, or why it has not."""

    topic: str
    payload: bytes
    done: Callable[[], None]
    key: StreamKey | None = None
    batch: Batch | None = None
    reason: str = ""


@dataclass(slots=True)
class _Outcome:
    """What a transaction decided; published only after its commit."""

    watermarks: dict[StreamKey, int] = field(default_factory=dict)
    gaps: dict[StreamKey, int] = field(default_factory=dict)
    asks: dict[StreamKey, int] = field(default_factory=dict)
    rows: int = 0
    redelivered: int = 0


class IngestWriter:
    """Takes batches from the network thread, writes them in groups."""

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        publish_ack: PublishAck,
        config: IngestConfig,
    ) -> None:
        """Create the writer with an empty queue of ``config.queue_batches``."""
        self._engine, self._clock, self._publish_ack = engine, clock, publish_ack
        self._group = config.group_batches
        self._queue: queue.Queue[_Message] = queue.Queue(config.queue_batches)
        self._full = self._failing = False
        self.stats = IngestStats()

    def offer(self, topic: str, payload: bytes, done: Callable[[], None]) -> None:
        """Queue a message; never waits. Called on the network thread."""
        try:
            self._queue.put_nowait(_Message(topic=topic, payload=payload, done=done))
            self._full = False
        except queue.Full:
            self.stats.dropped += 1
            if not self._full:
                self._full = True
                log.warning(INGEST_FULL, extra={"queued": self._queue.qsize()})
            done()

    def run(self, stop: Event) -> None:
        """Write groups until ``stop`` is set, then what is still queued."""
        while not stop.is_set():
            self.step(WAIT_S)
        while not self._failing and self.step(0.0):
            pass

    def step(self, timeout_s: float) -> int:
        """Write one group of what is queued.

        Returns:
            How many messages it took; 0 if none came within ``timeout_s``.
        """
        group = [_read(message) for message in self._take(timeout_s)]
        if group:
            self._write(group)
            for message in group:
                message.done()
        return len(group)

    def _take(self, timeout_s: float) -> list[_Message]:
        taken: list[_Message] = []
        try:
            taken.append(
                self._queue.get(timeout=timeout_s or None, block=timeout_s > 0)
            )
            while len(taken) < self._group:
                taken.append(self._queue.get_nowait())
        except queue.Empty:
            pass
        return taken

    def _write(self, group: Sequence[_Message]) -> None:
        try:
            with transaction(self._engine) as connection:
                outcome = self._store(connection, group)
        except (DataError, IntegrityError) as error:
            self._isolate(group, error)
        except SQLAlchemyError as error:
            self._fail(error)
        else:
            self._succeed(group, outcome)

    def _isolate(self, group: Sequence[_Message], error: SQLAlchemyError) -> None:
        """Find the message that the database refuses, and set it aside."""
        if len(group) > 1:
            for message in group:
                self._write([message])
        elif group[0].batch is None:
            self._fail(error)
        else:
            first = group[0]
            reason = f"the database refuses it: {error.__class__.__name__}"
            self._write([_poisoned(first, reason)])

    def _fail(self, error: SQLAlchemyError) -> None:
        self.stats.failed_groups += 1
        if not self._failing:
            self._failing = True
            log.error(INGEST_FAILED, extra={"reason": str(error)})

    def _succeed(self, group: Sequence[_Message], outcome: _Outcome) -> None:
        if self._failing:
            self._failing = False
            log.info(INGEST_RECOVERED)
        poison = [message for message in group if message.batch is None]
        for message in poison:
            log.warning(
                INGEST_POISON, extra={"topic": message.topic, "reason": message.reason}
            )
        self.stats.poison += len(poison)
        self.stats.batches += len(group) - len(poison)
        self.stats.rows += outcome.rows
        self.stats.redelivered += outcome.redelivered
        for key, watermark in outcome.watermarks.items():
            gap = outcome.gaps.get(key, 0) > watermark
            ack = Ack(
                boot=key.boot,
                lane=key.lane,
                upto=watermark,
                gap=gap,
                ask=outcome.asks.get(key, UNSET),
            )
            self._publish_ack(topics.leaf(key.device, Leaf.ACK), codec.encode(ack))

    def _store(self, connection: Connection, group: Sequence[_Message]) -> _Outcome:
        outcome = _Outcome()
        at = self._clock.wall()
        offsets: dict[str, float] = {}
        for message in group:
            if message.batch is None or message.key is None:
                records.write_poison(
                    connection,
                    message.topic,
                    message.payload,
                    reason=message.reason,
                    at=at,
                )
                continue
            offsets[message.key.device] = at - message.batch.header.wall_at
            _store_batch(connection, message.key, message.batch, at=at, outcome=outcome)
        for device, offset_s in offsets.items():
            devices.touch(connection, device, at)
            records.write_clock_offset(connection, device, offset_s)
        return outcome


def _store_batch(
    connection: Connection,
    key: StreamKey,
    batch: Batch,
    *,
    at: float,
    outcome: _Outcome,
) -> None:
    header = batch.header
    known = outcome.watermarks.get(key)
    if known is None:
        known = records.read_watermark(connection, key)
    redelivered = records.write_rows(connection, key, batch.rows, at)
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
    outcome.rows += len(batch.rows)
    outcome.redelivered += redelivered


def _read(message: _Message) -> _Message:
    """Decode a message's batch, or say why it cannot be."""
    address = topics.parse(message.topic)
    if address is None or not isinstance(address.kind, Lane):
        return _poisoned(message, "not a topic of a device's lane")
    if len(message.payload) > MAX_COMPRESSED_BYTES:
        return _poisoned(message, f"{len(message.payload)} bytes are too large")
    try:
        batch = decode_batch(message.payload)
    except WireError as error:
        return _poisoned(message, str(error))
    header = batch.header
    if header.lane is not address.kind:
        return _poisoned(message, f"lane {header.lane} came on {address.kind}")
    return _Message(
        topic=message.topic,
        payload=message.payload,
        done=message.done,
        key=StreamKey(device=address.device, boot=header.boot, lane=header.lane),
        batch=batch,
    )


def _poisoned(message: _Message, reason: str) -> _Message:
    return _Message(
        topic=message.topic,
        payload=message.payload,
        done=message.done,
        reason=reason,
    )
