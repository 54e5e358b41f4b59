"""Ingest over a real database: commit first, acknowledge after, block for nothing."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, select, text

from edge_agent.base.clock import SystemClock
from edge_agent.wire import codec, topics
from edge_agent.wire.batch import (
    MAX_COMPRESSED_BYTES,
    BatchHeader,
    encode_batch,
    encode_record,
)
from edge_agent.wire.control import Ack
from edge_agent.wire.records import FeedbackRecord, HealthRecord
from edge_agent.wire.topics import Lane
from hub.config import IngestConfig
from hub.ingest.writer import IngestWriter
from hub.storage import identity
from hub.storage.db import open_database, transaction
from hub.storage.tables import DEVICES, FEEDBACK, POISON, RECORDS, STREAMS

BOOT = "0123456789abcdef"
TOPIC = topics.up("dev-1", Lane.METRIC)


@dataclass
class Rig:
    """A writer over a database, and what it said, in order."""

    engine: Engine
    writer: IngestWriter
    said: list[str]
    acks: list[Ack]

    def offer(self, payload: bytes, topic: str = TOPIC) -> None:
        """Hand a message to the writer as the link does."""
        self.writer.offer(topic, payload, lambda: self.said.append("puback"))

    def drain(self) -> None:
        """Write everything that is queued."""
        while self.writer.step(0.0):
            pass

    def seqs(self) -> list[int]:
        """Return the stored sequence numbers."""
        with self.engine.connect() as connection:
            return list(connection.scalars(select(RECORDS.c.seq).order_by("seq")))


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """Return a rig with a queue of eight batches, four a group."""
    engine = open_database(f"sqlite:///{tmp_path / 'hub.db'}")
    config = IngestConfig(queue_batches=8, group_batches=4)
    said: list[str] = []
    acks: list[Ack] = []

    def publish(topic: str, payload: bytes) -> None:
        said.append(f"ack {topic}")
        acks.append(codec.decode(payload, Ack))

    writer = IngestWriter(engine, SystemClock(), publish, config)
    yield Rig(engine=engine, writer=writer, said=said, acks=acks)
    engine.dispose()


def batch(lo: int, hi: int, *, base: int = 0, lane: Lane = Lane.METRIC) -> bytes:
    """Return a batch of health records."""
    header = BatchHeader(
        boot=BOOT, lane=lane, base=base, lo=lo, hi=hi, wall_at=5.0, mono_s=1.0
    )
    record = encode_record(HealthRecord(at=5.0, uptime_s=1.0, release=3))
    return encode_batch(header, [(seq, record) for seq in range(lo, hi + 1)])


def question(*, last: int, ask: int) -> bytes:
    """Return a batch without records, from a device that holds up to ``last``."""
    header = BatchHeader(
        boot=BOOT,
        lane=Lane.METRIC,
        base=0,
        lo=last + 1,
        hi=last,
        ask=ask,
        wall_at=5.0,
        mono_s=1.0,
    )
    return encode_batch(header, [])


def test_rows_are_committed_before_the_ack_and_the_ack_before_the_puback(
    rig: Rig,
) -> None:
    """The order is commit, application acknowledgement, PUBACK."""

    @event.listens_for(rig.engine, "commit")
    def _commit(_: object) -> None:
        rig.said.append("commit")

    rig.offer(batch(1, 3))
    rig.drain()

    assert rig.said == ["commit", "ack shoal/v1/dev-1/ack", "puback"]
    assert rig.acks == [Ack(boot=BOOT, lane=Lane.METRIC, upto=3)]
    with rig.engine.connect() as connection:
        device = connection.execute(select(DEVICES)).one()
        assert (device.id, device.last_seen_at > 5.0) == ("dev-1", True)
        assert {r.release for r in connection.execute(select(RECORDS))} == {3}


def test_duplicates_are_ignored_and_counted(rig: Rig) -> None:
    """Rows that come again are acknowledged again, stored once."""
    for payload in (batch(1, 3), batch(2, 5), batch(2, 5)):
        rig.offer(payload)
        rig.drain()

    assert rig.seqs() == [1, 2, 3, 4, 5]
    assert [ack.upto for ack in rig.acks] == [3, 5, 5]
    with rig.engine.connect() as connection:
        assert connection.scalar(select(STREAMS.c.redelivered)) == 6


def test_a_gap_is_answered_and_filled(rig: Rig) -> None:
    """A batch above a hole is kept but not acknowledged; the answer says so."""
    rig.offer(batch(1, 2))
    rig.offer(batch(5, 6))
    rig.drain()
    rig.offer(batch(3, 6, base=2))
    rig.drain()

    assert rig.acks == [
        Ack(boot=BOOT, lane=Lane.METRIC, upto=2, gap=True),
        Ack(boot=BOOT, lane=Lane.METRIC, upto=6, gap=False),
    ]
    assert rig.seqs() == [1, 2, 3, 4, 5, 6]


def test_a_question_is_answered_with_the_watermark_and_is_no_gap(rig: Rig) -> None:
    """A batch without records moves nothing; its number comes back with the answer."""
    rig.offer(batch(1, 2))
    rig.offer(question(last=9, ask=77))
    rig.drain()
    rig.offer(batch(3, 4))
    rig.drain()

    assert rig.acks == [
        Ack(boot=BOOT, lane=Lane.METRIC, upto=2, ask=77),
        Ack(boot=BOOT, lane=Lane.METRIC, upto=4),
    ]


def test_what_was_evicted_is_no_gap(rig: Rig) -> None:
    """Below its base a device has nothing left: the watermark moves on."""
    rig.offer(batch(11, 12, base=10))
    rig.drain()

    assert rig.acks == [Ack(boot=BOOT, lane=Lane.METRIC, upto=12)]


@pytest.mark.parametrize(
    ("payload", "topic", "reason"),
    [
        (b"not a batch", TOPIC, "WIRE-BATCH-002"),
        (b"x" * (MAX_COMPRESSED_BYTES + 1), TOPIC, "too large"),
        (batch(1, 1, lane=Lane.STATE), TOPIC, "lane state came on metric"),
        (batch(1, 1), "shoal/v1/bad.id/up/metric", "not a topic"),
        (batch(1, 1), "shoal/v1/dev-1/up/nonsense", "not a topic"),
    ],
)
def test_poison_is_set_aside_and_blocks_nothing(
    rig: Rig, payload: bytes, topic: str, reason: str
) -> None:
    """What cannot be read is kept with its reason; the next batch gets through."""
    rig.offer(payload, topic)
    rig.offer(batch(1, 2))
    rig.drain()

    with rig.engine.connect() as connection:
        poison = connection.execute(select(POISON)).one()
    assert reason in poison.reason
    assert rig.said.count("puback") == 2
    assert [ack.upto for ack in rig.acks] == [2]


def test_a_full_queue_drops_without_an_acknowledgement(rig: Rig) -> None:
    """The ninth batch is counted and left to the device to send again."""
    for place in range(9):
        rig.offer(batch(place + 1, place + 1))
    rig.drain()

    assert rig.writer.stats.dropped == 1
    assert rig.acks[-1].upto == 8
    rig.offer(batch(9, 9, base=8))
    rig.drain()
    assert rig.acks[-1].upto == 9


def test_a_failing_database_acknowledges_nothing(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """While the database fails there is no acknowledgement, and one log line."""
    with transaction(rig.engine) as connection:
        connection.execute(text("ALTER TABLE streams RENAME TO away"))
    for _ in range(3):
        rig.offer(batch(1, 2))
        rig.drain()
    with transaction(rig.engine) as connection:
        connection.execute(text("ALTER TABLE away RENAME TO streams"))

    assert rig.acks == []
    assert rig.seqs() == []
    assert [r.message for r in caplog.records].count("ingest.failed") == 1
    rig.offer(batch(1, 2))
    rig.drain()
    assert [ack.upto for ack in rig.acks] == [2]


def test_feedback_gets_a_row_of_its_own(rig: Rig) -> None:
    """A label is stored once for each prediction, however often it comes."""
    record = FeedbackRecord(
        at=9.0,
        sample_id="p1@0#1",
        release=2,
        predicted="a",
        label="b",
        correct=False,
        confidence=0.5,
        predicted_at=8.0,
    )
    for seq in (1, 2):
        header = BatchHeader(
            boot=BOOT, lane=Lane.METRIC, base=0, lo=seq, hi=seq, wall_at=9.0, mono_s=1.0
        )
        rig.offer(encode_batch(header, [(seq, encode_record(record))]))
    rig.drain()

    with rig.engine.connect() as connection:
        row = connection.execute(select(FEEDBACK)).one()
    assert (row.device, row.release, row.correct) == ("dev-1", 2, False)


def test_a_revoked_device_is_not_taken_in(rig: Rig) -> None:
    """Its batches are set aside unacknowledged until it has a certificate again."""
    with transaction(rig.engine) as connection:
        identity.add_certificate(
            connection, "1", "dev-1", issued_at=1.0, expires_at=9e9
        )
        identity.revoke(connection, "dev-1", 2.0)
    rig.offer(batch(1, 2))
    rig.offer(batch(1, 2), TOPIC.replace("dev-1", "dev-2"))
    rig.drain()

    assert sorted(rig.said) == ["ack shoal/v1/dev-2/ack", "puback", "puback"]
    assert rig.seqs() == [1, 2]
    with rig.engine.connect() as connection:
        assert "revoked" in str(connection.scalar(select(POISON.c.reason)))
