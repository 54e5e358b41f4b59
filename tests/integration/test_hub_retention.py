"""Records are kept for a time, and what was deleted never comes back."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select

from edge_agent.wire.records import FeedbackRecord
from edge_agent.wire.topics import Lane
from hub.storage.db import open_database, transaction
from hub.storage.device_days import DAY_S
from hub.storage.retention import PERIOD_S, ROWS, Retention
from hub.storage.streams import StreamKey
from hub.storage.tables import FEEDBACK, RECORDS, STREAMS
from tests.hub_records import plant

KEY = StreamKey(device="d1", boot="0" * 16, lane=Lane.METRIC)
NOW = 400 * DAY_S


class At:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        """Begin at NOW."""
        self.now = NOW

    def wall(self) -> float:
        """Return the wall time."""
        return self.now

    def mono(self) -> float:
        """Return the same as monotonic time."""
        return self.now


@pytest.fixture
def clock() -> At:
    """Return a clock."""
    return At()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """Return an empty database."""
    engine = open_database(f"sqlite:///{tmp_path / 'hub.db'}")
    yield engine
    engine.dispose()


def send(engine: Engine, low: int, high: int, at: float) -> None:
    """Store the labels ``low..high`` as received ``at``."""
    rows = [
        (
            seq,
            FeedbackRecord(
                at=1.0,
                sample_id=f"s{seq}",
                release=1,
                predicted="a",
                label="b",
                correct=False,
                confidence=0.5,
                predicted_at=1.0,
            ),
        )
        for seq in range(low, high + 1)
    ]
    with transaction(engine) as connection:
        plant(connection, KEY, list(rows), at)


def seqs(engine: Engine) -> list[int]:
    """Return the stored sequence numbers."""
    with engine.connect() as connection:
        return list(connection.scalars(select(RECORDS.c.seq).order_by(RECORDS.c.seq)))


def test_what_is_older_than_the_time_is_deleted(engine: Engine, clock: At) -> None:
    """Records and labels go with their age; what is younger stays."""
    send(engine, 1, 3, NOW - 31 * DAY_S)
    send(engine, 4, 5, NOW - 29 * DAY_S)

    assert Retention(engine, clock, 30.0).tick() == 6

    assert seqs(engine) == [4, 5]
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(FEEDBACK)) == 2


def test_a_deleted_record_that_is_sent_again_stays_away(
    engine: Engine, clock: At
) -> None:
    """It counts as redelivered, with its label, and what is new beside it is stored."""
    send(engine, 1, 3, NOW - 31 * DAY_S)
    Retention(engine, clock, 30.0).tick()

    send(engine, 2, 4, NOW)

    assert seqs(engine) == [4]
    with engine.connect() as connection:
        stream = connection.execute(select(STREAMS)).one()
        assert connection.scalars(select(FEEDBACK.c.sample_id)).all() == ["s4"]
    assert (stream.watermark, stream.pruned, stream.redelivered) == (4, 3, 2)


def test_numbers_of_deleted_records_are_not_used_again(
    engine: Engine, clock: At
) -> None:
    """A reader that goes on from the last number it saw misses nothing."""
    send(engine, 1, 3, NOW - 31 * DAY_S)
    Retention(engine, clock, 30.0).tick()
    send(engine, 4, 4, NOW)

    with engine.connect() as connection:
        assert connection.scalars(select(RECORDS.c.id)).all() == [4]


def test_a_sweep_goes_in_short_steps_and_then_rests(engine: Engine, clock: At) -> None:
    """No step deletes more than its share; a finished sweep waits for a minute."""
    for low in range(1, ROWS + 102, 101):
        send(engine, low, low + 100, NOW - 31 * DAY_S)
    retention = Retention(engine, clock, 30.0)

    assert retention.tick() == 2 * ROWS
    assert 0 < retention.tick() < 2 * ROWS
    assert retention.tick() == 0
    send(engine, 5000, 5000, NOW - 31 * DAY_S)
    assert retention.tick() == 0
    clock.now += PERIOD_S
    assert retention.tick() == 2


def test_zero_days_keep_everything(engine: Engine, clock: At) -> None:
    """Without a limit nothing is ever deleted."""
    send(engine, 1, 3, 1.0)

    assert Retention(engine, clock, 0.0).tick() == 0
    assert seqs(engine) == [1, 2, 3]
