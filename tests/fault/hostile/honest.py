"""A device that does everything right, and notices when the hub does not."""

import secrets
import threading
import time
from collections.abc import Sequence

from edge_agent.wire import codec, topics
from edge_agent.wire.batch import BatchHeader, encode_batch, encode_record
from edge_agent.wire.control import Ack, Presence, Reported
from edge_agent.wire.records import AnyRecord, EventRecord, FeedbackRecord, HealthRecord
from edge_agent.wire.topics import Lane, Leaf
from tests.fault.hostile.books import Books
from tests.fault.hostile.wire import Wire

ACK_S = 45.0
"""Within this, an honest device's batch is acknowledged, whatever others do."""
TWIN_S = 45.0
"""Within this, an honest device's twin is taken in: the ticker steps."""
RESEND_S = 2.0
POLL_S = 0.02
RECORDS = 4


class UnheardError(AssertionError):
    """The hub did not hear an honest device within the deadline."""


class HonestDevice:
    """Sends numbered records in two lanes and keeps what is not acknowledged."""

    def __init__(self, name: str, port: int, files: tuple[str, ...]) -> None:
        """Connect and announce itself."""
        self.name, self.boot = name, secrets.token_hex(8)
        self.wire = Wire(name, port, files)
        assert self.wire.accepted, name
        self.wire.subscribe(topics.leaf(name, Leaf.ACK))
        self.acknowledged = 0
        self._upto = dict.fromkeys((Lane.METRIC, Lane.ALERT), 0)
        self._version, self._beats = 0, 0
        self._lock = threading.Lock()
        birth = Presence(device=name, boot=self.boot, online=True, at=time.time())
        self.wire.say(topics.leaf(name, Leaf.PRESENCE), codec.encode(birth), keep=True)

    def close(self) -> None:
        """End the connection."""
        self.wire.close()

    def beat(self, limit_s: float = ACK_S) -> float:
        """Send a batch until it is acknowledged; return the seconds that took.

        Raises:
            UnheardError: It was not within ``limit_s``.
        """
        with self._lock:
            return self._beat(limit_s)

    def _beat(self, limit_s: float) -> float:
        lane = Lane.ALERT if self._beats % 4 == 3 else Lane.METRIC
        self._beats += 1
        lo = self._upto[lane] + 1
        payload = self._batch(lane, lo)
        started = time.monotonic()
        sent_at = 0.0
        while not self._is_acknowledged(lane, lo + RECORDS - 1):
            now = time.monotonic()
            if now - started > limit_s:
                raise UnheardError(f"no ack for {self.name} within {limit_s} s")
            if now - sent_at > RESEND_S:
                self.wire.send(topics.up(self.name, lane), payload)
                sent_at = now
            self.wire.wait(POLL_S)
        self._upto[lane] += RECORDS
        self.acknowledged += RECORDS
        return time.monotonic() - started

    def heartbeat(self, books: Books, limit_s: float = TWIN_S) -> float:
        """Report a new twin until it is taken in; return the seconds that took.

        Raises:
            UnheardError: It was not within ``limit_s``.
        """
        self._version += 1
        twin = Reported(
            device=self.name,
            boot=self.boot,
            version=self._version,
            at=time.time(),
            release=0,
        )
        self.wire.send(topics.leaf(self.name, Leaf.REPORTED), codec.encode(twin))
        started = time.monotonic()
        while books.twin(self.name).get("version", 0) < self._version:
            if time.monotonic() - started > limit_s:
                raise UnheardError(f"no twin of {self.name} within {limit_s} s")
            self.wire.wait(POLL_S)
        return time.monotonic() - started

    def lost(self, books: Books) -> int:
        """Return how many acknowledged records the hub does not have."""
        return self.acknowledged - books.records(self.name)

    def _batch(self, lane: Lane, lo: int) -> bytes:
        rows = [
            (number, encode_record(self._record(lane, number)))
            for number in range(lo, lo + RECORDS)
        ]
        header = BatchHeader(
            boot=self.boot,
            lane=lane,
            base=lo - 1,
            lo=lo,
            hi=rows[-1][0],
            wall_at=time.time(),
            mono_s=time.monotonic(),
        )
        return encode_batch(header, rows)

    def _record(self, lane: Lane, number: int) -> AnyRecord:
        at = time.time()
        if lane is Lane.ALERT:
            return EventRecord(at=at, code="AGENT-X-001", severity="info", text="x")
        if number % RECORDS == 0:
            return HealthRecord(at=at, uptime_s=1.0, release=0)
        return FeedbackRecord(
            at=at,
            sample_id=f"{self.name}-{self.boot}-{number}",
            release=1,
            predicted="a",
            label="a",
            correct=True,
            confidence=0.9,
            predicted_at=at,
        )

    def _is_acknowledged(self, lane: Lane, upto: int) -> bool:
        return any(
            ack.boot == self.boot and ack.lane is lane and ack.upto >= upto
            for ack in read_acks(self.wire)
        )


def read_acks(wire: Wire) -> Sequence[Ack]:
    """Return all acknowledgements that came over a connection, the newest last."""
    return [
        codec.decode(payload, Ack)
        for topic, payload in tuple(wire.inbox)
        if topic.endswith("/ack")
    ]
