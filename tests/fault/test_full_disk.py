"""A full disk, as the limit on the size of files that the system sets a process."""

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.config import OutboxConfig
from edge_agent.errors import StoreError
from edge_agent.link.relay import Relay
from edge_agent.store.db import open_or_set_aside
from edge_agent.store.outbox import Outbox
from edge_agent.wire.batch import decode_batch
from edge_agent.wire.records import EventRecord
from edge_agent.wire.topics import Lane
from tests.fakes.model_hub import ModelHub
from tests.fakes.scripted_link import FakeClock, ScriptedLink

BOOT = "a" * 16
RESEND_S = 5.0
ROOM_BYTES = 512 << 10


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """Let no file of this process grow beyond ``ROOM_BYTES``."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def event(number: int) -> EventRecord:
    """Return an alert of about a kilobyte that carries a number."""
    return EventRecord(
        at=float(number), code="AGENT-X-001", severity="info", text="x" * 900
    )


def test_a_full_disk_loses_nothing_that_was_committed(tmp_path: Path) -> None:
    """Commits fail and say so, sending goes on, and all works once there is space."""
    path = tmp_path / "agent.db"
    outbox = Outbox(path, BOOT, OutboxConfig(alert_bytes=64 << 20))
    link, clock, hub = ScriptedLink(), FakeClock(), ModelHub()
    relay = Relay("d1", outbox, link, clock, resend_after_s=RESEND_S)
    committed: list[int] = []
    refused: list[StoreError] = []

    def turn() -> None:
        clock.now += RESEND_S
        relay.pump()
        payloads = [payload for _, payload in link.sent]
        link.sent.clear()
        for payload in payloads:
            relay.on_ack(hub.take(decode_batch(payload)))

    def commit(number: int) -> None:
        try:
            outbox.append([event(number)])
            committed.append(number)
        except StoreError as error:
            refused.append(error)

    with full_disk():
        for number in range(1500):
            commit(number)
        held = len(committed)
        for _ in range(3):
            with contextlib.suppress(StoreError):
                turn()
    for number in range(1500, 1510):
        commit(number)
    for _ in range(held):
        if not outbox.streams():
            break
        turn()
    left = outbox.streams()
    outbox.close()

    assert {error.code for error in refused} == {"AGENT-STORE-001"}
    assert 0 < held < 1500
    assert committed[-10:] == list(range(1500, 1510))
    assert left == []
    assert [int(record.at) for record in hub.records(Lane.ALERT)] == committed


def test_a_database_that_met_a_full_disk_is_not_set_aside(tmp_path: Path) -> None:
    """A commit that was cut by the end of the disk leaves a sound file."""
    path = tmp_path / "agent.db"
    outbox = Outbox(path, BOOT, OutboxConfig(alert_bytes=64 << 20))

    def fill() -> None:
        for number in range(1500):
            outbox.append([event(number)])

    with full_disk(), pytest.raises(StoreError):
        fill()
    outbox.close()

    conn, aside = open_or_set_aside(path, 1)
    count = conn.execute("SELECT COUNT(*), MAX(seq) FROM outbox").fetchone()
    conn.close()

    assert aside is None
    assert count[0] == count[1] > 0
