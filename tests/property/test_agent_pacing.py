"""What is sent under a cap stays under it, and is all sent in the end."""

import random
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.base.mqtt_version import Limits
from edge_agent.config import OutboxConfig, RelayConfig
from edge_agent.link.pacing import BURST_S, Pace
from edge_agent.link.relay import RELAY_BLOCKED, Relay
from edge_agent.store.outbox import Outbox
from edge_agent.wire.batch import decode_batch
from edge_agent.wire.records import EventRecord, HealthRecord
from edge_agent.wire.topics import Lane
from tests.fakes.model_hub import ModelHub
from tests.fakes.scripted_link import FakeClock, ScriptedLink

BOOT = "a" * 16
LONGEST_BATCH = 8192


def health(number: int) -> HealthRecord:
    """Return a metric record."""
    return HealthRecord(at=float(number), uptime_s=number / 7, release=number)


@settings(max_examples=40, deadline=None)
@given(
    rate=st.integers(50, 2000),
    turns=st.lists(
        st.tuples(st.integers(0, 80), st.floats(0.01, 20)), min_size=1, max_size=25
    ),
)
def test_bytes_of_capped_lanes_never_exceed_rate_and_burst(
    rate: int, turns: list[tuple[int, float]]
) -> None:
    """Whatever is committed when, bytes sent stay below the cap, and all go at last."""
    with TemporaryDirectory() as folder:
        outbox = Outbox(Path(folder) / "agent.db", BOOT, OutboxConfig())
        link, clock, hub = ScriptedLink(), FakeClock(), ModelHub()
        pace = Pace(RelayConfig(max_bytes_per_s=rate))
        relay = Relay("d1", outbox, link, clock, resend_after_s=1e6)
        relay.pace = pace
        start, sent = clock.now, 0
        more = [(0, LONGEST_BATCH / rate)] * 200
        for amount, wait_s in turns + more:
            outbox.append([health(n) for n in range(amount)])
            relay.pump()
            for topic, payload in link.sent:
                sent += len(topic) + len(payload)
                relay.on_ack(hub.take(decode_batch(payload)))
            link.sent.clear()
            assert sent <= rate * (clock.now - start + BURST_S) + LONGEST_BATCH
            clock.now += wait_s
        assert not outbox.streams()
        assert len(hub.records(Lane.METRIC)) == sum(amount for amount, _ in turns)
        outbox.close()


def test_an_alert_overtakes_what_the_cap_and_the_hours_hold(tmp_path: Path) -> None:
    """With the bucket in debt and bulk lanes closed an alert goes in the next turn."""
    outbox = Outbox(tmp_path / "agent.db", BOOT, OutboxConfig())
    link, clock, hub = ScriptedLink(), FakeClock(), ModelHub()
    pace = Pace(RelayConfig(max_bytes_per_s=1))
    relay = Relay("d1", outbox, link, clock, resend_after_s=1e6)
    relay.pace = pace
    outbox.append([health(n) for n in range(500)])
    pace.charge(10_000, clock.now)
    pace.lanes = frozenset({Lane.ALERT})
    outbox.append([EventRecord(at=1.0, code="AGENT-X-001", severity="info", text="")])
    for _ in range(3):
        relay.pump()
        for _, payload in link.sent:
            relay.on_ack(hub.take(decode_batch(payload)))
        link.sent.clear()

    assert len(hub.records(Lane.ALERT)) == 1
    assert hub.records(Lane.METRIC) == []
    assert not relay.may_drain()
    outbox.close()


@settings(max_examples=30, deadline=None)
@given(packet=st.integers(500, 4000), amount=st.integers(1, 300))
def test_batches_fit_the_brokers_packets_and_all_arrive(
    packet: int, amount: int
) -> None:
    """However small its packets, what fits as one record arrives, and in order."""
    with TemporaryDirectory() as folder:
        outbox = Outbox(Path(folder) / "agent.db", BOOT, OutboxConfig())
        link, clock, hub = ScriptedLink(), FakeClock(), ModelHub()
        link.limits = Limits(packet_bytes=packet)
        relay = Relay("d1", outbox, link, clock, resend_after_s=1e6)
        outbox.append([health(n) for n in range(amount)])
        for _ in range(amount + 2):
            relay.pump()
            for topic, payload in link.sent:
                assert link.limits.fits(topic, payload)
                relay.on_ack(hub.take(decode_batch(payload)))
            link.sent.clear()
        assert [r.at for r in hub.records(Lane.METRIC)] == list(range(amount))
        outbox.close()


def test_one_record_that_is_too_large_blocks_its_lane_only_and_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is kept, other lanes go on, and it goes when the broker takes more."""
    outbox = Outbox(tmp_path / "agent.db", BOOT, OutboxConfig())
    link, clock, hub = ScriptedLink(), FakeClock(), ModelHub()
    relay = Relay("d1", outbox, link, clock, resend_after_s=5.0)
    text = random.Random(1).randbytes(450).hex()
    large = EventRecord(at=1.0, code="AGENT-X-001", severity="info", text=text)
    outbox.append([large, health(1)])

    def turns() -> None:
        for _ in range(4):
            relay.pump()
            for _, payload in link.sent:
                relay.on_ack(hub.take(decode_batch(payload)))
            link.sent.clear()
            clock.now += 5.0

    link.limits = Limits(packet_bytes=500)
    turns()
    said = [r for r in caplog.records if r.getMessage() == RELAY_BLOCKED]
    assert len(said) == 1
    assert hub.records(Lane.ALERT) == []
    assert len(hub.records(Lane.METRIC)) == 1
    link.limits = Limits()
    turns()
    assert len(hub.records(Lane.ALERT)) == 1
    outbox.close()
