"""A device under torture: the agent's own store and link, and a writer.

:func:`main` (``FOLDER DEVICE PORT RATE``) commits numbered records in
every lane and notes each in ``FOLDER/truth`` once its commit has returned. It is meant
to be killed at any instant and started again. ``FOLDER/quiet`` ends the writing.
"""

import os
import secrets
import signal
import threading
from pathlib import Path

from edge_agent.base.clock import SystemClock
from edge_agent.config import (
    AgentConfig,
    BrokerConfig,
    DeviceConfig,
    OutboxConfig,
    TrustConfig,
)
from edge_agent.link.birth import describe_device
from edge_agent.link.mqtt import MqttLink
from edge_agent.link.session import LinkSession, SessionPorts
from edge_agent.link.twin import Twin
from edge_agent.store.db import DB_FILE, open_or_set_aside
from edge_agent.store.lock import take_lock
from edge_agent.store.outbox import Outbox
from edge_agent.wire.control import Reported
from edge_agent.wire.records import (
    AnyRecord,
    EventRecord,
    FeedbackRecord,
    SampleRecord,
    UpdateRecord,
)

TRUTH_FILE = "truth"
QUIET_FILE = "quiet"
COMMIT_S = 0.025
ROOMY = 1 << 30
"""Budget of a lane: eviction is allowed to lose records, so there must be none."""


def make_config(device: str, port: int) -> AgentConfig:
    """Return the configuration of a device; all but the budgets are the defaults."""
    return AgentConfig(
        device=DeviceConfig(id=device),
        trust=TrustConfig(root="root.json"),
        broker=BrokerConfig(port=port),
        outbox=OutboxConfig(
            alert_bytes=ROOMY,
            state_bytes=ROOMY,
            metric_bytes=ROOMY,
            sample_bytes=ROOMY,
        ),
    )


def make_record(turn: int, name: str, at: float) -> AnyRecord:
    """Return a record that carries ``name``; two in ten are not of the metric lane."""
    if turn % 20 == 3:
        return EventRecord(at=at, code="AGENT-X-001", severity="info", text=name)
    if turn % 20 == 9:
        return UpdateRecord(
            at=at, assignment_seq=1, rollout="", release=1, phase="IDLE", detail=name
        )
    if turn % 10 == 7:
        return SampleRecord(
            at=at,
            sample_id=name,
            release=1,
            consent="torture",
            label="a",
            predicted="b",
            shape=[2, 8],
            data=secrets.token_bytes(64),
        )
    return FeedbackRecord(
        at=at,
        sample_id=name,
        release=1,
        predicted="a",
        label="b",
        correct=False,
        confidence=0.5,
        predicted_at=at,
    )


def name_of(record: AnyRecord) -> str:
    """Return the name that :func:`make_record` gave."""
    if isinstance(record, EventRecord):
        return record.text
    if isinstance(record, UpdateRecord):
        return record.detail
    if isinstance(record, SampleRecord | FeedbackRecord):
        return record.sample_id
    return ""


class Writer:
    """Commits records at a rate and keeps the truth about them."""

    def __init__(self, folder: Path, device: str, outbox: Outbox, boot: str) -> None:
        """Open the truth for appending."""
        self._folder = folder
        self._prefix = f"{device}-{boot}"
        self._outbox = outbox
        self._clock = SystemClock()
        self._made = 0
        self._truth = os.open(
            folder / TRUTH_FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644
        )

    def run(self, stop: threading.Event, rate: float) -> None:
        """Commit ``rate`` records a second until ``stop`` or until it is quiet."""
        start = self._clock.mono()
        while not stop.wait(COMMIT_S):
            if (self._folder / QUIET_FILE).exists():
                stop.wait()
                return
            due = int((self._clock.mono() - start) * rate) - self._made
            if due > 0:
                self._commit(due)

    def _commit(self, count: int) -> None:
        at = self._clock.wall()
        numbers = range(self._made, self._made + count)
        named = [(n, f"{self._prefix}-{n}") for n in numbers]
        self._outbox.append([make_record(n, name, at) for n, name in named])
        # One write call, so a kill leaves all of these lines or none.
        os.write(self._truth, "".join(f"{name}\n" for _, name in named).encode())
        self._made += count


def main(argv: list[str]) -> int:
    """Run until SIGTERM, as the supervisor does without worker and updates."""
    folder, device, port, rate = Path(argv[0]), argv[1], int(argv[2]), float(argv[3])
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    lock = take_lock(folder)
    clock, boot = SystemClock(), secrets.token_hex(8)
    config = make_config(device, port)
    database = folder / DB_FILE
    open_or_set_aside(database, int(clock.wall()))[0].close()
    twin = Twin(describe_device(config, boot, clock.wall()))
    will = (twin.presence_topic, twin.death(clock.wall()))
    link = MqttLink(device, config.broker, subscriptions=twin.subscriptions, will=will)
    session = LinkSession(config, link, twin, clock, boot=boot)
    ports = SessionPorts(
        deliver=lambda _message: None,
        reported=lambda: Reported(
            device=device, boot=boot, version=0, at=clock.wall(), release=0
        ),
    )
    threads = [
        threading.Thread(target=link.run, daemon=True),
        threading.Thread(target=session.run, args=(database, ports), daemon=True),
    ]
    for thread in threads:
        thread.start()
    outbox = Outbox(database, boot, config.outbox)
    Writer(folder, device, outbox, boot).run(stop, rate)
    outbox.close()
    session.leave()
    threads[1].join()
    link.stop(will)
    threads[0].join()
    lock.close()
    return 0
