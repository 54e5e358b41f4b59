"""Damaged, doubled and shuffled batches against the real writer and database."""

import random
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import func, select

from edge_agent.base.clock import SystemClock
from edge_agent.wire import codec, topics
from edge_agent.wire.batch import BatchHeader, encode_batch, encode_record
from edge_agent.wire.control import Ack
from edge_agent.wire.records import EventRecord
from edge_agent.wire.topics import Lane
from hub.config import IngestConfig
from hub.ingest.writer import IngestWriter
from hub.storage.db import open_database
from hub.storage.tables import POISON, RECORDS

BOOT = "0123456789abcdef"
TOPIC = topics.up("dev-1", Lane.ALERT)
BATCHES, ROWS = 60, 5


def make_batch(number: int) -> bytes:
    """Return batch ``number`` (from 0) of one stream."""
    lo = number * ROWS + 1
    header = BatchHeader(
        boot=BOOT,
        lane=Lane.ALERT,
        base=0,
        lo=lo,
        hi=lo + ROWS - 1,
        wall_at=5.0,
        mono_s=1.0,
    )
    return encode_batch(header, [(s, encode_record(event(s))) for s in span(number)])


def span(number: int) -> range:
    """Return the sequence numbers of a batch."""
    return range(number * ROWS + 1, (number + 1) * ROWS + 1)


def event(seq: int) -> EventRecord:
    """Return the record with this number."""
    return EventRecord(at=5.0, code="AGENT-X-001", severity="info", text=f"n{seq}")


def damage(dice: random.Random, payload: bytes) -> bytes:
    """Flip one bit, or cut the end off."""
    if dice.random() < 0.3:
        return payload[: dice.randrange(len(payload))]
    place = dice.randrange(len(payload))
    flipped = payload[place] ^ (1 << dice.randrange(8))
    return payload[:place] + bytes([flipped]) + payload[place + 1 :]


@pytest.mark.parametrize("seed", range(3))
def test_no_damage_gets_in_and_none_blocks_what_is_sound(
    tmp_path: Path, seed: int
) -> None:
    """Flipped and cut batches are set aside; the sound ones are stored, once each."""
    dice = random.Random(seed)
    sound = [make_batch(n) for n in range(BATCHES)]
    offered = [*sound, *dice.sample(sound, 20)]
    bad = [damage(dice, dice.choice(sound)) for _ in range(40)]
    offered += bad
    dice.shuffle(offered)
    engine = open_database(f"sqlite:///{tmp_path / 'hub.db'}")
    acks: list[Ack] = []
    released: list[int] = []
    writer = IngestWriter(
        engine,
        SystemClock(),
        lambda _topic, payload: acks.append(codec.decode(payload, Ack)),
        IngestConfig(queue_batches=1000, group_batches=7),
    )
    for place, payload in enumerate(offered):
        writer.offer(TOPIC, payload, partial(released.append, place))
    while writer.step(0.0):
        pass
    # What a device does on a gap: it sends again from its oldest record.
    for payload in sound:
        writer.offer(TOPIC, payload, lambda: None)
    while writer.step(0.0):
        pass

    with engine.connect() as connection:
        rows = connection.execute(
            select(RECORDS.c.seq, RECORDS.c.body).order_by(RECORDS.c.seq)
        ).all()
        poison = connection.scalar(select(func.count()).select_from(POISON))
    engine.dispose()
    wanted = range(1, BATCHES * ROWS + 1)
    assert [tuple(row) for row in rows] == [
        (seq, encode_record(event(seq)).decode()) for seq in wanted
    ]
    assert poison == len(bad)
    assert sorted(released) == list(range(len(offered)))
    assert [a.upto for a in acks] == sorted(a.upto for a in acks)
    assert (acks[-1].upto, acks[-1].gap) == (BATCHES * ROWS, False)
