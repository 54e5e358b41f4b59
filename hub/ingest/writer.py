"""The one writer of telemetry: queue, group commit, acknowledge.

Order is everything here: rows and watermarks are committed first, then the
application acknowledgement goes to the device, and only that one lets a device delete
anything. The PUBACK after it merely frees the broker's window. So a group that cannot
be committed, and a batch that finds the queue full, is dropped with a PUBACK and no
acknowledgement: the device sends it again. (Left without a PUBACK it would occupy the
broker's window until the next connection and stop the other devices' batches.) For the
same reason only part of the window waits for its PUBACK (:mod:`hub.ingest.window`).

No device is served at the cost of the others: the queue takes devices in turn by what
they have cost (:mod:`hub.ingest.fair_queue`), a group ends when it has taken
:data:`GROUP_S`, and who costs more than the budget is not listened to
(:mod:`hub.ingest.budget`).

``hub/service.py`` gives :meth:`IngestWriter.offer` to the link and runs
:meth:`IngestWriter.run` in the writer thread.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from threading import Event

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from edge_agent.base.clock import Clock
from edge_agent.wire import codec, topics
from edge_agent.wire.topics import Leaf
from edge_agent.wire.version import TOPIC_PREFIX
from hub.config import IngestConfig
from hub.faults import Fault, classify
from hub.ingest.admission import Admission, device_of
from hub.ingest.batches import Arrived, Outcome, Poison, read_batch, store_batches
from hub.ingest.budget import POISON_ROWS, Cost
from hub.ingest.fair_queue import FairQueue
from hub.ingest.overload import Overload
from hub.ingest.shard import Shard
from hub.ingest.window import PubackWindow
from hub.storage import devices, identity, poison, tombstones
from hub.storage.db import transaction

log = logging.getLogger(__name__)

INGEST_FAILED = "ingest.failed"
INGEST_RECOVERED = "ingest.recovered"
INGEST_FULL = "ingest.full"
INGEST_POISON = "ingest.poison"
INGEST_UNFORESEEN = "ingest.unforeseen"
INGEST_POISON_DROPPED = "ingest.poison_dropped"

WAIT_S = 0.2
DENIED = "the device's certificates are revoked or have expired"
GROUP_S = 0.05
"""So much processor time on decoding, and what there is gets written."""
GROUP_PRICE = 0.2
"""What one device may cost in a group, in seconds of allowance, before it ends: nobody
waits for the rest of it."""
FULL_S = 10.0
"""How often it is said at most that the queue is full."""
REVOKED_S = 2.0
"""How long a revocation takes to be known here."""

PublishAck = Callable[[str, bytes], object]
"""Topic and payload; need not wait, a lost acknowledgement is asked for again."""


@dataclass(slots=True)
class IngestStats:
    """What happened since the start; for status pages and tests."""

    batches: int = 0
    rows: int = 0
    redelivered: int = 0
    poison: int = 0
    poison_dropped: int = 0
    dropped: int = 0
    failed_groups: int = 0


UNREAD = Poison.because("not read yet")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Message:
    """A message as it came, its batch if it has one, or why it has not."""

    topic: str
    payload: bytes
    done: Callable[[], None]
    found: Arrived | Poison = UNREAD


class IngestWriter:
    """Takes batches from the network thread, writes them in groups."""

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        publish_ack: PublishAck,
        config: IngestConfig,
        shard: Shard | None = None,
    ) -> None:
        """Create the writer with an empty queue of ``config.queue_batches``.

        With a ``shard`` it leaves the batches of other devices to other processes.
        """
        self._shard = shard or Shard()
        self._quota = config.device_day_bytes
        self._revoked: set[str] = set()
        self._revoked_at = float("-inf")
        self.find_denied: Callable[[Connection], set[str]] = identity.revoked_devices
        """Who is not taken in; the hub gives one that knows of expiry too."""
        self._engine, self._clock, self._publish_ack = engine, clock, publish_ack
        self._group = config.group_batches
        self._queue: FairQueue[_Message] = FairQueue(config.queue_batches)
        self._window = PubackWindow()
        self._admission = Admission(config, clock)
        self.overload = Overload(engine, clock, self._admission)
        self._full_at = float("-inf")
        self._failing = False
        self.stats = IngestStats()

    def offer(self, topic: str, payload: bytes, done: Callable[[], None]) -> None:
        """Queue a message; never waits. Called on the network thread."""
        if not self._shard.owns(topic):
            done()
            return
        device = device_of(topic)
        if not self._admission.admit(device, len(payload)):
            done()
            return
        held = self._window.hold(device, done)
        message = _Message(topic=topic, payload=payload, done=held)
        for dropped in self._queue.put(device, message, len(payload)):
            self.stats.dropped += 1
            dropped.done()
            self._say_full()

    def _say_full(self) -> None:
        now = self._clock.mono()
        if now - self._full_at >= FULL_S:
            self._full_at = now
            log.warning(INGEST_FULL, extra={"queued": len(self._queue)})

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
        group = self._take(timeout_s)
        if group:
            self._write(group)
            for message in group:
                message.done()
        self.overload.look()
        return len(group)

    def _judge(self, message: _Message) -> _Message:
        """Decode a message's batch, or say why it is not taken."""
        read = _decode(message)
        if isinstance(read.found, Arrived) and read.found.key.device in self._denied():
            return _poisoned(message, DENIED)
        return read

    def _denied(self) -> set[str]:
        """Return the revoked devices, as of some seconds ago.

        The broker keeps them out; this holds while it does not know it yet.
        """
        now = self._clock.mono()
        if now - self._revoked_at >= REVOKED_S:
            with contextlib.suppress(SQLAlchemyError), self._engine.connect() as conn:
                self._revoked = self.find_denied(conn)
            self._revoked_at = now
        return self._revoked

    def _take(self, timeout_s: float) -> list[_Message]:
        """Take and decode messages, each device in its turn."""
        taken: list[_Message] = []
        prices: dict[str, float] = {}
        began = time.thread_time()
        while len(taken) < self._group and time.thread_time() - began < GROUP_S:
            found = self._queue.take(0.0 if taken else timeout_s)
            if found is None:
                break
            device, message = found
            if not self._admission.still_admits(device):
                message.done()
                continue
            read, price = self._read(device, message)
            taken.append(read)
            prices[device] = prices.get(device, 0.0) + price
            if prices[device] >= GROUP_PRICE:
                break
        return taken

    def _read(self, device: str, message: _Message) -> tuple[_Message, float]:
        """Decode a message and charge its device; return the price too."""
        began = time.thread_time()
        read = self._judge(message)
        cost = _cost(read, time.thread_time() - began)
        price = self._admission.charge(device, cost)
        self._queue.charge(device, price)
        return read, price

    def _write(self, group: Sequence[_Message]) -> None:
        try:
            with transaction(self._engine) as connection:
                group = _not_forgotten(connection, group)
                outcome, dropped = self._store(connection, group)
        except (DataError, IntegrityError) as error:
            self._isolate(group, error)
        except SQLAlchemyError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - a message must not end the thread
            if classify(error) is Fault.RESOURCE:
                self._fail(error)
            else:
                self._isolate(group, error)
        else:
            self._succeed(group, outcome, dropped)

    def _isolate(self, group: Sequence[_Message], error: Exception) -> None:
        """Find the message that the database refuses, and set it aside."""
        if len(group) > 1:
            for message in group:
                self._write([message])
        elif isinstance(group[0].found, Poison):
            self._fail(error)
        else:
            first = group[0]
            reason = f"the database refuses it: {error.__class__.__name__}"
            self._write([_poisoned(first, reason)])

    def _fail(self, error: Exception) -> None:
        self.stats.failed_groups += 1
        if not self._failing:
            self._failing = True
            log.error(INGEST_FAILED, extra={"reason": str(error)[: poison.MAX_REASON]})

    def _succeed(
        self, group: Sequence[_Message], outcome: Outcome, dropped: int
    ) -> None:
        if self._failing:
            self._failing = False
            log.info(INGEST_RECOVERED)
        unread = 0
        for message in group:
            if isinstance(message.found, Poison):
                unread += 1
                topic = message.topic[: poison.MAX_TOPIC]
                facts = {"topic": topic, "reason": message.found.reason}
                log.warning(INGEST_POISON, extra=facts)
        if dropped:
            log.warning(INGEST_POISON_DROPPED, extra={"messages": dropped})
        self.stats.poison += unread
        self.stats.poison_dropped += dropped
        self.stats.batches += len(group) - unread
        self.stats.rows += outcome.rows
        self.stats.redelivered += outcome.redelivered
        self.overload.note_deleted(outcome.gone)
        for key, ack in outcome.acks.items():
            self._publish_ack(topics.leaf(key.device, Leaf.ACK), codec.encode(ack))

    def _store(
        self, connection: Connection, group: Sequence[_Message]
    ) -> tuple[Outcome, int]:
        """Write a group; return its outcome and how much old poison was dropped."""
        at = self._clock.wall()
        arrived: list[Arrived] = []
        messages: list[_Message] = []
        for message in group:
            found = message.found
            if isinstance(found, Arrived):
                arrived.append(found)
                messages.append(message)
                continue
            _set_aside(connection, message, found.reason, at)
        outcome = Outcome()
        if arrived:
            outcome = store_batches(connection, arrived, at=at, quota=self._quota)
            offsets = {a.key.device: at - a.batch.header.wall_at for a in arrived}
            devices.note_heard(connection, offsets, at)
        for place, detail in outcome.differing.items():
            # Nothing is thrown away: what came second waits for a person.
            _set_aside(connection, messages[place], detail, at)
        refused = len(arrived) < len(group) or outcome.differing
        return outcome, poison.trim_poison(connection) if refused else 0


def _cost(message: _Message, seconds: float) -> Cost:
    """Return what reading a message has cost, and writing it will."""
    found = message.found
    rows = POISON_ROWS if isinstance(found, Poison) else len(found.batch.rows)
    return Cost(size=len(message.payload), rows=rows, seconds=seconds)


def _not_forgotten(
    connection: Connection, group: Sequence[_Message]
) -> Sequence[_Message]:
    """Return the messages but those of forgotten devices: of these nothing stays."""
    speakers = {_speaker(message.topic) for message in group}
    gone = tombstones.forgotten_among(connection, speakers)
    return [m for m in group if _speaker(m.topic) not in gone] if gone else group


def _speaker(topic: str) -> str:
    """Return the device that a topic belongs to, however the rest of it reads."""
    return topic.removeprefix(f"{TOPIC_PREFIX}/").partition("/")[0]


def _set_aside(
    connection: Connection, message: _Message, reason: str, at: float
) -> None:
    poison.write_poison(
        connection, message.topic, message.payload, reason=reason, at=at
    )


def _decode(message: _Message) -> _Message:
    """Decode a message's batch, or say why it cannot be."""
    try:
        return replace(message, found=read_batch(message.topic, message.payload))
    except Exception as error:
        # What no bound foresaw is the message's fault, or passes: it is not
        # acknowledged, so an honest device sends it again.
        log.exception(INGEST_UNFORESEEN, extra={"bytes": len(message.payload)})
        return _poisoned(message, f"reading it failed: {error!r}")


def _poisoned(message: _Message, reason: str) -> _Message:
    return replace(message, found=Poison.because(reason))
