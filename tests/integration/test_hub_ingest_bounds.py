"""What a device sends fills neither database, nor log, nor the quarantine."""

import json
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Engine, func, select

from edge_agent.base.clock import SystemClock
from edge_agent.wire import codec, topics
from edge_agent.wire.batch import (
    FREE_PLAIN_BYTES,
    MAX_KIND_NAME,
    BatchHeader,
    decode_batch,
    encode_batch,
    encode_record,
)
from edge_agent.wire.control import Ack
from edge_agent.wire.errors import WireError
from edge_agent.wire.records import EventRecord, FeedbackRecord, SampleRecord
from edge_agent.wire.topics import Lane
from hub.alerts.evidence import OveruseEvidence
from hub.alerts.machine import Condition
from hub.config import IngestConfig
from hub.ingest.writer import IngestWriter
from hub.monitor.overuse import OVERUSE, OveruseWatch
from hub.storage import device_days, poison, streams
from hub.storage.db import open_database, transaction
from hub.storage.streams import StreamKey
from hub.storage.tables import DEVICE_DAYS, FEEDBACK, RECORDS, STREAMS
from tests.fakes.flood import bomb
from tests.hub_records import plant

BOOT = "0123456789abcdef"
QUOTA = 64 << 10
AT = 20_000 * device_days.DAY_S + 100.0


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """Return an empty database."""
    engine = open_database(f"sqlite:///{tmp_path / 'hub.db'}")
    yield engine
    engine.dispose()


def header(lane: Lane, lo: int, hi: int, boot: str = BOOT) -> BatchHeader:
    """Return the header of a batch without a gap."""
    return BatchHeader(
        boot=boot, lane=lane, base=lo - 1, lo=lo, hi=hi, wall_at=5.0, mono_s=1.0
    )


def labels(lo: int, hi: int) -> list[tuple[int, bytes]]:
    """Return labels of about 450 bytes, counted twice."""
    return [
        (
            seq,
            encode_record(
                FeedbackRecord(
                    at=5.0,
                    sample_id=f"s{seq}" + "x" * 90,
                    release=1,
                    predicted="a" * 100,
                    label="b" * 100,
                    correct=False,
                    confidence=0.5,
                    predicted_at=1.0,
                )
            ),
        )
        for seq in range(lo, hi + 1)
    ]


class Rig:
    """A writer over a database, with a small quota."""

    def __init__(self, engine: Engine, quota: int = QUOTA) -> None:
        """Begin with nothing sent."""
        self.engine = engine
        self.acks: list[Ack] = []
        self.writer = IngestWriter(
            engine,
            SystemClock(),
            lambda _topic, payload: self.acks.append(codec.decode(payload, Ack)),
            IngestConfig(device_day_bytes=quota),
        )

    def send(self, payload: bytes, lane: Lane, device: str = "dev-1") -> None:
        """Hand a batch over and have it written."""
        self.writer.offer(topics.up(device, lane), payload, lambda: None)
        while self.writer.step(0.0):
            pass

    def kept(self, lane: Lane, device: str = "dev-1") -> list[int]:
        """Return the numbers of a lane's records that are there."""
        with self.engine.connect() as connection:
            return list(
                connection.scalars(
                    select(RECORDS.c.seq)
                    .join(STREAMS, STREAMS.c.id == RECORDS.c.stream)
                    .where(STREAMS.c.device == device, STREAMS.c.lane == str(lane))
                    .order_by(RECORDS.c.seq)
                )
            )


def test_giant_names_of_kinds_grow_neither_database_nor_log(
    engine: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Forty batches whose kind has a name of 8 MiB leave less than 2 MiB behind."""
    packed = {
        "header": msgspec.to_builtins(header(Lane.METRIC, 1, 1)),
        "kinds": {"k" * ((8 << 20) - 300): {"seq": [1], "fields": {}}},
    }
    payload = zlib.compress(json.dumps(packed).encode(), 9)
    rig = Rig(engine)
    for _ in range(40):
        rig.send(payload, Lane.METRIC)

    on_disk = sum(path.stat().st_size for path in tmp_path.glob("hub.db*"))
    logged = sum(len(str(vars(record))) for record in caplog.records)
    assert on_disk + logged < 2 << 20
    with engine.connect() as connection:
        assert len(poison.list_poison(connection)) == 40


def test_a_reason_never_quotes_more_than_512_characters(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither stored nor logged, whatever the name that it quotes; nor the topic."""
    packed = {
        "header": msgspec.to_builtins(header(Lane.METRIC, 1, 1)),
        "kinds": {"k" * (MAX_KIND_NAME + 1): {"seq": [1], "fields": {}}},
    }
    rig = Rig(engine)
    rig.send(zlib.compress(json.dumps(packed).encode()), Lane.METRIC)
    rig.writer.offer("shoal/v1/dev-1/up/" + "x" * 60_000, b"?", lambda: None)
    rig.writer.step(0.0)
    with transaction(engine) as connection:
        poison.write_poison(connection, "t", b"", reason="r" * 9999, at=1.0)
        poison.write_reason(connection, 1, "q" * 9999)
        rows = poison.list_poison(connection)

    assert [len(row.reason) for row in rows if row.id != 2] == [512, 512]
    assert max(len(row.topic) for row in rows) == poison.MAX_TOPIC
    assert max(len(str(vars(record))) for record in caplog.records) < 4096


@pytest.mark.parametrize("lane", list(Lane))
def test_the_quarantine_counts_all_that_it_writes_and_by_device(
    engine: Engine, lane: Lane
) -> None:
    """On however many topics: one device keeps 8 MiB at most, and nobody else pays."""
    with transaction(engine) as connection:
        poison.write_poison(connection, topics.up("b", lane), b"?", reason="r", at=1.0)
        for number in range(12):
            topic = f"shoal/v1/a/up/{number}"
            poison.write_poison(connection, topic, bytes(1 << 20), reason="r", at=1.0)
        poison.trim_poison(connection)
        rows = poison.list_poison(connection)

    written = sum(r.size + len(r.topic) + len(r.reason) for r in rows)
    assert written <= poison.MAX_BYTES_A_DEVICE + 100
    assert [row.topic for row in rows if "/b/" in row.topic] == [topics.up("b", lane)]
    assert len(rows) == 1 + 7


def test_inflation_is_bounded_by_ratio_as_well_as_by_size() -> None:
    """8 KiB may become 2 MiB, not 8; constant samples, which pack as well, may."""
    with pytest.raises(WireError, match="WIRE-BATCH-001"):
        decode_batch(bomb(8 << 20))
    with pytest.raises(WireError, match="WIRE-BATCH-001"):
        decode_batch(bomb(FREE_PLAIN_BYTES + 1))
    assert decode_batch(bomb(FREE_PLAIN_BYTES)).rows == []

    dark = SampleRecord(
        at=1.0,
        sample_id="s",
        release=1,
        consent="c",
        label="a",
        predicted="a",
        shape=[1 << 18],
        data=bytes(1 << 20),
    )
    payload = encode_batch(header(Lane.SAMPLE, 1, 1), [(1, encode_record(dark))])
    assert decode_batch(payload).rows == [(1, dark)]


def test_beyond_the_quota_a_devices_oldest_bulk_goes_first(engine: Engine) -> None:
    """Its newest records and its alerts stay, other devices keep all, acks go on."""
    rig = Rig(engine)
    alert = encode_record(
        EventRecord(at=5.0, code="AGENT-X-001", severity="info", text="t" * 900)
    )
    rig.send(encode_batch(header(Lane.ALERT, 1, 1), [(1, alert)]), Lane.ALERT)
    payload = encode_batch(header(Lane.METRIC, 1, 20), labels(1, 20))
    rig.send(payload, Lane.METRIC, device="dev-2")
    for lo in range(1, 1000, 100):
        payload = encode_batch(header(Lane.METRIC, lo, lo + 99), labels(lo, lo + 99))
        rig.send(payload, Lane.METRIC)

    kept = rig.kept(Lane.METRIC)
    assert rig.acks[-1].upto == 1000
    assert kept == list(range(kept[0], 1001))
    assert 0 < len(kept) < 100
    assert rig.kept(Lane.ALERT) == [1]
    assert len(rig.kept(Lane.METRIC, "dev-2")) == 20
    with engine.connect() as connection:
        day = connection.execute(
            select(DEVICE_DAYS).where(DEVICE_DAYS.c.device == "dev-1")
        ).one()
        of_labels = select(func.count()).select_from(FEEDBACK)
        assert connection.scalar(of_labels.where(FEEDBACK.c.device == "dev-1")) == len(
            kept
        )
    assert day.bytes <= QUOTA
    assert day.gone_rows == 1000 - len(kept)

    rig.send(encode_batch(header(Lane.METRIC, 1, 100), labels(1, 100)), Lane.METRIC)
    assert rig.kept(Lane.METRIC) == kept


def test_where_there_is_no_bulk_the_oldest_of_the_rest_goes(engine: Engine) -> None:
    """Also a flood of alerts is bounded."""
    rig = Rig(engine)
    alert = encode_record(
        EventRecord(at=5.0, code="AGENT-X-001", severity="info", text="t" * 1000)
    )
    for lo in range(1, 200, 50):
        rows = [(seq, alert) for seq in range(lo, lo + 50)]
        rig.send(encode_batch(header(Lane.ALERT, lo, lo + 49), rows), Lane.ALERT)

    kept = rig.kept(Lane.ALERT)
    assert kept == list(range(kept[0], 201))
    assert len(kept) * 1100 < QUOTA


def test_a_quota_of_nothing_keeps_everything(engine: Engine) -> None:
    """0 switches it off."""
    rig = Rig(engine, quota=0)
    for lo in range(1, 400, 100):
        payload = encode_batch(header(Lane.METRIC, lo, lo + 99), labels(lo, lo + 99))
        rig.send(payload, Lane.METRIC)
    assert len(rig.kept(Lane.METRIC)) == 400


def test_streams_of_a_device_are_bounded(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that invents a start for each batch loses its oldest, nobody else's."""
    monkeypatch.setattr(streams, "MAX_STREAMS", 40)
    monkeypatch.setattr(streams, "_FORGOTTEN", 10)
    record = EventRecord(at=5.0, code="AGENT-X-001", severity="info", text="t")
    with transaction(engine) as connection:
        for number in range(100):
            for device in ("a", f"b{number}"):
                key = StreamKey(device=device, boot=f"{number:016x}", lane=Lane.ALERT)
                plant(connection, key, [(1, record)], 1.0)

        of = select(func.count()).select_from(STREAMS).where(STREAMS.c.device == "a")
        assert (connection.scalar(of) or 0) <= 40
        rows = connection.scalar(select(func.count()).select_from(RECORDS))
        assert rows == connection.scalar(select(func.count()).select_from(STREAMS))
        newest = connection.scalar(
            select(func.max(STREAMS.c.boot)).where(STREAMS.c.device == "a")
        )
        assert newest == f"{99:016x}"


def test_who_sends_more_than_it_may_is_an_alert(engine: Engine) -> None:
    """With what was refused and deleted today; it ends with the day."""
    with transaction(engine) as connection:
        device_days.note_refused(connection, {"bad": 60, "good": 2}, AT)
        device_days.note_refused(connection, {"bad": 40}, AT)
    watch = OveruseWatch(engine)

    (found,) = watch.observe(set(), AT + 1)
    assert (found.rule, found.cohort, found.condition) == (
        OVERUSE,
        "bad",
        Condition.TRUE,
    )
    assert isinstance(found.evidence, OveruseEvidence)
    assert found.evidence.refused == 100
    (over,) = watch.observe({(OVERUSE, 0, "bad")}, AT + device_days.DAY_S)
    assert over.condition is Condition.FALSE


def test_a_device_in_debt_is_counted_and_not_read(engine: Engine) -> None:
    """What it sends gets its PUBACK and no acknowledgement; the others are served."""
    rig = Rig(engine)
    done: list[int] = []
    for number in range(600):
        puback = partial(done.append, number)
        rig.writer.offer(topics.up("bad", Lane.METRIC), b"junk", puback)
        if number % 50 == 0:
            rig.writer.step(0.0)
    alert = encode_record(
        EventRecord(at=5.0, code="AGENT-X-001", severity="info", text="t")
    )
    payload = encode_batch(header(Lane.ALERT, 1, 1), [(1, alert)])
    rig.send(payload, Lane.ALERT, device="good")

    assert sorted(done) == list(range(600))
    assert rig.kept(Lane.ALERT, "good") == [1]
    with engine.connect() as connection:
        assert len(poison.list_poison(connection)) <= poison.MAX_ROWS_A_DEVICE
    assert rig.writer.stats.poison < 400
