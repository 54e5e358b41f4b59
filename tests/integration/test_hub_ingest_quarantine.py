"""The quarantine: bounded, readable, and replayed exactly as ingest commits."""

import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine, func, select, update

from edge_agent.base.clock import SystemClock
from edge_agent.wire import topics
from edge_agent.wire.batch import BatchHeader, encode_batch, encode_record
from edge_agent.wire.records import HealthRecord
from edge_agent.wire.topics import Lane
from hub.cli import cli
from hub.config import Home, IngestConfig
from hub.home import create_home
from hub.ingest.quarantine import read_content, replay
from hub.ingest.writer import IngestWriter
from hub.service import open_services
from hub.storage import poison
from hub.storage.db import transaction
from hub.storage.tables import DEVICES, POISON, RECORDS, STREAMS

BOOT = "0123456789abcdef"
TOPIC = topics.up("dev-1", Lane.METRIC)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a fresh home folder."""
    create_home(Home(tmp_path / "home"), SystemClock())
    return tmp_path / "home"


@pytest.fixture
def engine(home: Path) -> Iterator[Engine]:
    """Return the home's database."""
    engine = open_services(Home(home)).engine
    yield engine
    engine.dispose()


def run(home: Path, *words: str) -> Result:
    """Run a command of the quarantine in this process."""
    return CliRunner().invoke(
        cli, ["--home", str(home), "ingest", "quarantine", *words]
    )


def batch(lo: int, hi: int, *, base: int = 0, evicted: int = 0) -> bytes:
    """Return a batch of health records."""
    header = BatchHeader(
        boot=BOOT,
        lane=Lane.METRIC,
        base=base,
        lo=lo,
        hi=hi,
        evicted=evicted,
        wall_at=5.0,
        mono_s=1.0,
    )
    record = encode_record(HealthRecord(at=5.0, uptime_s=1.0, release=3))
    return encode_batch(header, [(seq, record) for seq in range(lo, hi + 1)])


def set_aside(engine: Engine, payload: bytes, topic: str = TOPIC) -> int:
    """Put a message into the quarantine, as a hub that could not read it did."""
    with transaction(engine) as connection:
        poison.write_poison(connection, topic, payload, reason="was bad", at=7.0)
        return connection.scalar(select(func.max(POISON.c.id))) or 0


def test_what_is_good_now_is_committed_and_leaves(engine: Engine, home: Path) -> None:
    """Rows, watermark and device are as ingest makes them; the message is gone."""
    number = set_aside(engine, batch(1, 3))

    result = run(home, "replay", str(number), "--json")

    assert result.exit_code == 0
    assert json.loads(result.stdout)[0]["rows"] == 3
    with engine.connect() as connection:
        assert connection.scalar(select(STREAMS.c.watermark)) == 3
        assert list(connection.scalars(select(RECORDS.c.received_at))) == [7.0] * 3
        assert connection.scalar(select(DEVICES.c.id)) == "dev-1"
        assert connection.scalar(select(func.count()).select_from(POISON)) == 0
    assert run(home, "replay", str(number)).exit_code == 3


def test_what_is_still_bad_stays_with_its_new_reason(
    engine: Engine, home: Path
) -> None:
    """The good one of two is committed, and the exit code tells of the other."""
    set_aside(engine, b"not a batch")
    set_aside(engine, batch(1, 1))

    result = run(home, "replay", "--all")

    assert result.exit_code == 7
    assert "HUB-INGEST-002: 1 of 2 messages" in result.stderr
    listed = json.loads(run(home, "list", "--json").stdout)
    assert [(row["id"], row["size"]) for row in listed] == [(1, 11)]
    assert "WIRE-BATCH-002" in listed[0]["reason"]


def test_a_replay_follows_the_watermark_rule(engine: Engine) -> None:
    """A batch above a hole moves nothing; rows that are there are not new."""
    set_aside(engine, batch(5, 6))
    set_aside(engine, batch(1, 2))
    set_aside(engine, batch(1, 4))

    rows = [one.rows for one in replay(engine, None)]

    assert rows == [2, 2, 2]
    with engine.connect() as connection:
        assert connection.scalar(select(STREAMS.c.watermark)) == 4


def test_an_old_batch_does_not_take_evictions_back(engine: Engine) -> None:
    """What was told of evictions since stands."""
    set_aside(engine, batch(9, 9, base=8, evicted=8))
    set_aside(engine, batch(1, 1))

    replay(engine, None)

    with engine.connect() as connection:
        assert connection.scalar(select(STREAMS.c.evicted)) == 8


def test_replaying_beside_ingest_moves_no_clock_back(engine: Engine) -> None:
    """A device seen since keeps its time and its clock offset."""
    writer = IngestWriter(engine, SystemClock(), lambda *_: None, IngestConfig())
    writer.offer(TOPIC, batch(1, 1), lambda: None)
    writer.step(1.0)
    with engine.connect() as connection:
        before = connection.execute(select(DEVICES)).one()
    set_aside(engine, batch(2, 2))

    replay(engine, None)

    with engine.connect() as connection:
        assert connection.execute(select(DEVICES)).one() == before


def test_an_unknown_message_is_not_found_and_nothing_is_tried(
    engine: Engine, home: Path
) -> None:
    """One wrong number among right ones changes nothing."""
    number = set_aside(engine, batch(1, 1))

    assert run(home, "show", "99").exit_code == 3
    assert run(home, "replay", str(number), "99").exit_code == 3
    assert run(home, "replay").exit_code == 2
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(RECORDS)) == 0


def test_show_prints_as_much_as_can_be_read(engine: Engine, home: Path) -> None:
    """The header of a batch, else its text, else its first bytes."""
    good = set_aside(engine, batch(4, 5, base=3))
    bad = set_aside(engine, b"\xff\x00rest")

    assert f"stream    boot {BOOT}, lane metric" in run(home, "show", str(good)).stdout
    shown = json.loads(run(home, "show", str(good), "--json").stdout)
    assert (shown["header"]["lo"], shown["kinds"]) == (4, {"health": 2})
    assert "ff0072657374" in run(home, "show", str(bad)).stdout
    assert read_content(zlib.compress(b'{"header": 1}')).text == '{"header": 1}'
    assert read_content(b"").hex == ""
    hostile = set_aside(engine, zlib.compress(b"\x1b[2J gone"))
    assert "\N{REPLACEMENT CHARACTER}[2J gone" in run(home, "show", str(hostile)).stdout


def test_the_quarantine_is_bounded_and_drops_the_oldest(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """Beyond its number of messages the oldest go, counted and logged."""
    with transaction(engine) as connection:
        connection.execute(
            POISON.insert(),
            [
                {
                    "received_at": 1.0,
                    "topic": f"shoal/v1/d{n}/up/metric",
                    "reason": "r",
                    "payload": b"x",
                }
                for n in range(poison.MAX_ROWS)
            ],
        )
    writer = IngestWriter(engine, SystemClock(), lambda *_: None, IngestConfig())
    for _ in range(2):
        writer.offer(TOPIC, b"bad", lambda: None)
    while writer.step(0.0):
        pass

    with engine.connect() as connection:
        rows = poison.list_poison(connection)
    assert (len(rows), rows[0].id, rows[-1].size) == (poison.MAX_ROWS, 3, 3)
    assert writer.stats.poison_dropped == 2
    assert "ingest.poison_dropped" in [record.message for record in caplog.records]


def test_one_topic_cannot_push_out_the_others(engine: Engine) -> None:
    """A device that sends its bad batch for ever keeps only its newest ones."""
    other = set_aside(engine, b"bad", topics.up("dev-2", Lane.METRIC))
    numbers = [set_aside(engine, b"bad") for _ in range(poison.MAX_ROWS_A_DEVICE + 2)]

    with transaction(engine) as connection:
        assert poison.trim_poison(connection) == 2
        left = [row.id for row in poison.list_poison(connection)]
    assert left == [other, *numbers[2:]]


def test_the_quarantine_is_bounded_in_bytes(engine: Engine) -> None:
    """A total beyond the limit drops the oldest, and a giant is cut."""
    size = 1 << 20
    count = poison.MAX_TOTAL_BYTES // size
    with transaction(engine) as connection:
        for number in range(count):
            topic = topics.up(f"dev-{number}", Lane.METRIC)
            poison.write_poison(connection, topic, bytes(size), reason="r", at=1.0)
        assert poison.trim_poison(connection) == 1  # topics and reasons count too
        poison.write_poison(connection, TOPIC, bytes(size + 1), reason="r", at=1.0)
        cut = poison.list_poison(connection)[-1]
    assert cut.size == poison.CUT_BYTES
    assert cut.reason == f"r (only the first {poison.CUT_BYTES} bytes are kept)"
    assert [one.reason for one in replay(engine, [cut.id])] == [cut.reason]


def test_what_the_database_refuses_stays(engine: Engine) -> None:
    """A readable batch that cannot be stored is told apart from an unreadable one."""
    number = set_aside(engine, batch(1, 1))
    with transaction(engine) as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER no BEFORE INSERT ON records"
            " BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
        connection.execute(update(POISON).values(reason="was bad"))

    result = replay(engine, [number])[0]

    assert (result.committed, result.rows) == (False, 0)
    assert result.reason == "the database refuses it: IntegrityError"
    with engine.connect() as connection:
        assert poison.list_poison(connection)[0].reason == result.reason
        assert connection.scalar(select(func.count()).select_from(STREAMS)) == 0
