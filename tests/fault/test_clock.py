"""A wrong clock: nothing on the way to the hub depends on a device's wall clock."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from edge_agent.config import OutboxConfig
from edge_agent.link.relay import Relay
from edge_agent.store.outbox import Outbox
from edge_agent.wire import codec
from edge_agent.wire.control import Ack
from edge_agent.wire.records import EventRecord
from hub.config import IngestConfig
from hub.ingest.writer import IngestWriter
from hub.storage import devices
from hub.storage.db import open_database
from hub.storage.tables import RECORDS
from tests.fakes.scripted_link import FakeClock, ScriptedLink

HUB_AT = 1_790_000_000.0
BOOT = "c" * 16


@dataclass
class WrongClock:
    """A device's clock whose wall time a test sets; the other never jumps."""

    at: float
    now: float = 1.0

    def wall(self) -> float:
        """Return the wrong time."""
        return self.at

    def mono(self) -> float:
        """Return the steady time."""
        return self.now


@pytest.mark.parametrize(
    ("before", "after"),
    [(0.0, 5.0), (2.0**31 - 1, 2.0**31 + 1), (4.0e9, 4.0e9), (HUB_AT, HUB_AT - 1e8)],
    ids=["1970", "2038", "2096", "jumps back"],
)
def test_a_wrong_clock_delays_and_loses_nothing(
    tmp_path: Path, before: float, after: float
) -> None:
    """Records arrive in order; the hub stamps its own time and the offset."""
    engine = open_database(f"sqlite:///{tmp_path / 'hub.db'}")
    hub_clock = FakeClock()
    hub_clock.now = HUB_AT
    acks: list[Ack] = []
    writer = IngestWriter(
        engine,
        hub_clock,
        lambda _topic, data: acks.append(codec.decode(data, Ack)),
        IngestConfig(),
    )
    clock, link = WrongClock(before), ScriptedLink()
    outbox = Outbox(tmp_path / "agent.db", BOOT, OutboxConfig())
    relay = Relay("d1", outbox, link, clock, resend_after_s=5.0)
    for number in range(20):
        clock.at = before if number < 10 else after
        event = EventRecord(
            at=clock.wall(), code="AGENT-X-001", severity="info", text=f"n{number}"
        )
        outbox.append([event])
        clock.now += 0.5
        relay.pump()
        for topic, payload in link.sent:
            writer.offer(topic, payload, lambda: None)
        link.sent.clear()
        writer.step(0.0)
        while acks:
            relay.on_ack(acks.pop(0))
    left = outbox.streams()
    outbox.close()

    with engine.connect() as conn:
        rows = conn.execute(RECORDS.select().order_by(RECORDS.c.seq)).all()
        device = devices.get_device(conn, "d1")
    engine.dispose()
    assert left == []
    assert [f'"n{n}"' in row.body for n, row in enumerate(rows)] == [True] * 20
    assert [row.at for row in rows] == [before] * 10 + [after] * 10
    assert {row.received_at for row in rows} == {HUB_AT}
    assert device is not None
    assert device.clock_offset_s == HUB_AT - after
