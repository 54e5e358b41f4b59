"""Batches and acks over MQTT 5 and 3.1.1, and what MQTT 5 tells besides."""

import contextlib
import getpass
import logging
import queue
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

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
from edge_agent.link.session import LEVELS, LINK_LEVEL, LinkSession, SessionPorts
from edge_agent.link.twin import Twin
from edge_agent.store.db import DB_FILE
from edge_agent.store.outbox import Outbox
from edge_agent.store.slots import SlotStore
from edge_agent.wire import topics
from edge_agent.wire.control import Reported
from edge_agent.wire.records import AnyRecord, EventRecord, HealthRecord
from edge_agent.wire.topics import Lane, Leaf
from hub.config import BrokerConfig as HubBroker
from hub.config import IngestConfig
from hub.ingest.writer import IngestWriter
from hub.link import HubLink
from hub.storage.db import open_database
from tests.fakes.agent_hub import wait_for
from tests.fakes.old_broker import NEW_REFUSAL, OLD_REFUSAL, old_broker
from tests.hub_broker import MOSQUITTO, free_port, is_listening

BOOT = "0123456789abcdef"
WAIT_S = 15.0


@contextlib.contextmanager
def running(command: list[str], port: int) -> Iterator[int]:
    """Run a broker until the block ends; yield its port."""
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: is_listening(port), "the broker", timeout_s=WAIT_S)
        yield port
    finally:
        process.terminate()
        process.wait(WAIT_S)


@contextlib.contextmanager
def mosquitto_with(folder: Path, *lines: str) -> Iterator[int]:
    """Run mosquitto with lines of configuration; yield its port."""
    assert MOSQUITTO is not None
    port = free_port()
    conf = folder / "mosquitto.conf"
    head = [f"listener {port} 127.0.0.1", "allow_anonymous true", "persistence false"]
    # Started as root it would become another user, who may not read our files.
    head.append(f"user {getpass.getuser()}")
    conf.write_text("\n".join([*head, *lines]) + "\n", "utf-8")
    with running([MOSQUITTO, "-c", str(conf)], port):
        yield port


@contextlib.contextmanager
def old_iotcore() -> Iterator[int]:
    """Run iotcore's listener, which knows 3.1.1 only and closes on anything else."""
    port = free_port()
    with running([sys.executable, "-m", "hub.demo.broker", str(port)], port):
        yield port


class Device:
    """The link, session and outbox of one agent."""

    def __init__(self, folder: Path, port: int) -> None:
        """Start connecting."""
        folder.mkdir()
        self.config = AgentConfig(
            device=DeviceConfig(id="d1"),
            trust=TrustConfig(root="root.json"),
            broker=BrokerConfig(port=port),
            outbox=OutboxConfig(resend_after_s=1.0),
        )
        clock = SystemClock()
        self.database = folder / DB_FILE
        self.outbox = Outbox(self.database, BOOT, self.config.outbox)
        twin = Twin(describe_device(self.config, BOOT, clock.wall()))
        self.link = MqttLink(
            "d1",
            self.config.broker,
            subscriptions=twin.subscriptions,
            will=(twin.presence_topic, twin.death(clock.wall())),
        )
        self.session = LinkSession(self.config, self.link, twin, clock, boot=BOOT)
        twin_now = Reported(device="d1", boot=BOOT, version=0, at=1.0, release=0)
        ports = SessionPorts(deliver=lambda _m: None, reported=lambda: twin_now)
        bodies: list[Callable[[], None]] = [
            self.link.run,
            lambda: self.session.run(self.database, ports),
        ]
        self.threads = [threading.Thread(target=body) for body in bodies]
        for thread in self.threads:
            thread.start()

    def pending(self, lane: Lane) -> int:
        """Return how many records of a lane wait."""
        return self.outbox.stats()[lane].pending

    def level(self) -> float:
        """Return the protocol level that status is told."""
        slots = SlotStore(self.database)
        try:
            return slots.read_number(LINK_LEVEL)
        finally:
            slots.close()

    def close(self) -> None:
        """End both threads."""
        self.session.leave()
        self.threads[1].join(WAIT_S)
        self.link.stop()
        self.threads[0].join(WAIT_S)
        self.outbox.close()


@contextlib.contextmanager
def device_at(folder: Path, port: int) -> Iterator[Device]:
    """Run a device until the block ends."""
    device = Device(folder / "device", port)
    try:
        yield device
    finally:
        device.close()


@contextlib.contextmanager
def hub_at(folder: Path, config: HubBroker) -> Iterator[HubLink]:
    """Run a hub's link and ingest until the block ends."""
    engine = open_database(f"sqlite:///{folder / 'hub.db'}")
    stop = threading.Event()

    def send(topic: str, payload: bytes) -> None:
        link.send(topic, payload)

    writer = IngestWriter(engine, SystemClock(), send, IngestConfig())
    link = HubLink(
        config,
        on_batch=writer.offer,
        on_control=lambda _address, _payload: None,
        on_up=lambda: None,
    )
    thread = threading.Thread(target=writer.run, args=(stop,))
    thread.start()
    link.start()
    try:
        assert link.wait_up(WAIT_S)
        yield link
    finally:
        link.stop()
        stop.set()
        thread.join(WAIT_S)
        engine.dispose()


def metrics(count: int) -> list[AnyRecord]:
    """Return metric records that differ, so that they do not compress to nothing."""
    return [
        HealthRecord(at=n * 1.37, uptime_s=n * 7.77, release=n, predictions=n * n * 31)
        for n in range(count)
    ]


def alert() -> EventRecord:
    """Return an alert."""
    return EventRecord(at=1.0, code="AGENT-X-001", severity="info", text="")


def deliver(folder: Path, port: int, *, qos: int = 1) -> tuple[str, float]:
    """Send records to a hub until all are acknowledged; return both sides' version."""
    broker = HubBroker(port=port, batch_qos=1 if qos else 0)
    with hub_at(folder, broker) as hub, device_at(folder, port) as device:
        device.outbox.append([alert(), *metrics(500)])
        wait_for(lambda: not device.outbox.streams(), "the acks", timeout_s=WAIT_S)
        return hub.version, device.level()


def test_mosquitto_is_spoken_to_in_mqtt_5(tmp_path: Path) -> None:
    """Where the broker knows it both sides use it, and all is acknowledged."""
    with mosquitto_with(tmp_path) as port:
        assert deliver(tmp_path, port) == ("5", LEVELS["5"])


def test_a_broker_that_closes_on_mqtt_5_is_spoken_to_in_3_1_1(tmp_path: Path) -> None:
    """The listener of iotcore takes 3.1.1 only; nobody has to configure that."""
    with old_iotcore() as port:
        assert deliver(tmp_path, port, qos=0) == ("3.1.1", LEVELS["3.1.1"])


@pytest.mark.parametrize("refusal", [OLD_REFUSAL, NEW_REFUSAL])
def test_a_broker_that_refuses_the_version_is_spoken_to_in_3_1_1(
    tmp_path: Path, refusal: bytes
) -> None:
    """After either refusal one more CONNECT of each side is enough."""
    with mosquitto_with(tmp_path) as real, old_broker(real, refusal) as front:
        assert deliver(tmp_path, front.port) == ("3.1.1", LEVELS["3.1.1"])
        assert len(front.connects) == 4


def test_sessions_of_mqtt_5_expire(tmp_path: Path) -> None:
    """The device asks for seven days and the hub for one, and both keep the session."""
    with mosquitto_with(tmp_path) as real, old_broker(real, b"") as front:
        deliver(tmp_path, front.port)
        hub, device = front.connects

    assert b"\x11" + (24 * 3600).to_bytes(4) in hub
    assert b"\x11" + (7 * 24 * 3600).to_bytes(4) in device
    for connect in (hub, device):
        flags = connect[9 + (connect[1] > 0x7F)]
        assert not flags & 0x02, "clean start"


def test_a_small_window_and_small_packets_are_kept_to(tmp_path: Path) -> None:
    """With two messages in flight and 700 bytes a packet all arrives, unrefused."""
    limits = ("max_inflight_messages 2", "max_packet_size 700")
    with mosquitto_with(tmp_path, *limits) as port:
        assert deliver(tmp_path, port) == ("5", LEVELS["5"])


def test_batches_that_the_broker_finds_too_large_become_smaller(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A limit that the broker does not tell beforehand is found out and reported."""
    noise = random.Random(1)
    events = [
        EventRecord(
            at=1.0,
            code="AGENT-X-001",
            severity="info",
            text=noise.randbytes(400).hex(),
        )
        for _ in range(100)
    ]
    with (
        mosquitto_with(tmp_path, "message_size_limit 8000") as port,
        hub_at(tmp_path, HubBroker(port=port)),
        device_at(tmp_path, port) as device,
    ):
        device.outbox.append(events)
        wait_for(lambda: not device.outbox.streams(), "the acks")

    assert set(refusals(caplog)) == {"AGENT-LINK-004"}


def test_a_lane_that_the_broker_refuses_is_kept_and_reported_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The access rules let alerts through only: metrics stay, with code and cure."""
    rules = tmp_path / "acl"
    rules.write_text(
        "topic read #\ntopic write shoal/v1/d1/up/alert\ntopic write shoal/v1/d1/ack\n"
        "topic write shoal/v1/d1/presence\ntopic write shoal/v1/d1/reported\n"
    )
    with (
        mosquitto_with(tmp_path, f"acl_file {rules}") as port,
        hub_at(tmp_path, HubBroker(port=port)) as hub,
        device_at(tmp_path, port) as device,
    ):
        device.outbox.append([alert(), *metrics(100)])
        wait_for(lambda: not device.pending(Lane.ALERT), "the alert")
        wait_for(lambda: refusals(caplog), "the refusal")
        device.outbox.append([alert()])
        wait_for(lambda: not device.pending(Lane.ALERT), "the second alert")
        pending = device.pending(Lane.METRIC)
        taken = hub.publish(topics.HUB_TUF, b"{}", retain=True)
        again = hub.publish(topics.HUB_TUF, b"{}", retain=True)

    assert pending == 100
    assert not taken
    assert not again
    assert refusals(caplog) == ["AGENT-LINK-002", "HUB-LINK-005"]


def refusals(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the codes of the refusals that were logged."""
    return [
        str(getattr(record, "code", ""))
        for record in caplog.records
        if record.getMessage() == "link.refused" and record.levelno == logging.ERROR
    ]


def test_a_command_expires_in_the_broker(tmp_path: Path) -> None:
    """The broker knows for how long a message is worth anything."""
    heard: queue.Queue[int] = queue.Queue()
    ready = threading.Event()
    watcher = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    watcher.on_message = lambda _c, _u, message: heard.put(
        getattr(message.properties, "MessageExpiryInterval", 0)
    )
    watcher.on_subscribe = lambda *_: ready.set()
    with (
        mosquitto_with(tmp_path) as port,
        hub_at(tmp_path, HubBroker(port=port)) as hub,
    ):
        watcher.connect("127.0.0.1", port)
        watcher.loop_start()
        watcher.subscribe(topics.leaf("d1", Leaf.CMD), 1)
        assert ready.wait(WAIT_S)
        assert hub.publish(topics.leaf("d1", Leaf.CMD), b"{}", expires_s=3600.0)
        left_s = heard.get(timeout=WAIT_S)
        watcher.disconnect()
        watcher.loop_stop()

    assert 3590 <= left_s <= 3600
