"""The hub's link and writer against a real broker."""

import queue
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from sqlalchemy import select

from edge_agent.base.clock import SystemClock
from edge_agent.wire import codec, topics
from edge_agent.wire.batch import BatchHeader, encode_batch, encode_record
from edge_agent.wire.control import Ack
from edge_agent.wire.records import HealthRecord
from edge_agent.wire.topics import Address, Lane, Leaf
from hub.config import BrokerConfig, IngestConfig
from hub.ingest.writer import IngestWriter
from hub.link import HubLink
from hub.storage.db import open_database
from hub.storage.tables import RECORDS

BOOT = "0123456789abcdef"
WAIT_S = 10.0


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[int]:
    """Run mosquitto on a free loopback port and return the port."""
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    assert program, "mosquitto is needed: apt-get install mosquitto"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    config = tmp_path / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    process = subprocess.Popen(
        [program, "-c", str(config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    yield port
    process.terminate()
    process.wait(WAIT_S)


@pytest.fixture
def device(broker: int) -> Iterator[tuple[mqtt.Client, "queue.Queue[Ack]"]]:
    """Return a plain client in the place of a device, and the acks that it gets."""
    acks: queue.Queue[Ack] = queue.Queue()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="dev-1")
    client.on_message = lambda _c, _u, message: acks.put(
        codec.decode(bytes(message.payload), Ack)
    )
    ready = threading.Event()
    client.on_subscribe = lambda *_: ready.set()

    def subscribe(client: mqtt.Client, *_: object) -> None:
        client.subscribe(topics.leaf("dev-1", Leaf.ACK), 1)

    client.on_connect = subscribe
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            client.connect("127.0.0.1", broker)
            break
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
    client.loop_start()
    assert ready.wait(WAIT_S)
    yield client, acks
    client.disconnect()
    client.loop_stop()


def batch(lo: int, hi: int) -> bytes:
    """Return a batch of health records."""
    header = BatchHeader(
        boot=BOOT, lane=Lane.METRIC, base=0, lo=lo, hi=hi, wall_at=5.0, mono_s=1.0
    )
    record = encode_record(HealthRecord(at=5.0, uptime_s=1.0, release=1))
    return encode_batch(header, [(seq, record) for seq in range(lo, hi + 1)])


def test_a_batch_travels_and_its_ack_comes_back(
    broker: int, device: tuple[mqtt.Client, "queue.Queue[Ack]"], tmp_path: Path
) -> None:
    """From the device's publish to its ack, with the rows committed in between."""
    client, acks = device
    engine = open_database(f"sqlite:///{tmp_path / 'hub.db'}")
    links: list[HubLink] = []

    def publish_ack(topic: str, payload: bytes) -> None:
        links[0].send(topic, payload)

    writer = IngestWriter(engine, SystemClock(), publish_ack, IngestConfig())
    stop = threading.Event()
    thread = threading.Thread(target=writer.run, args=(stop,), name="writer")
    links.append(
        HubLink(
            BrokerConfig(port=broker),
            on_batch=writer.offer,
            on_control=lambda _address, _payload: None,
            on_up=lambda: None,
        )
    )
    thread.start()
    links[0].start()
    assert links[0].wait_up(WAIT_S)
    # The hub's subscription may come after this publish: a device would resend.
    deadline = time.monotonic() + WAIT_S
    while acks.empty() and time.monotonic() < deadline:
        client.publish(topics.up("dev-1", Lane.METRIC), batch(1, 3), qos=1)
        threading.Event().wait(0.1)
    ack = acks.get(timeout=WAIT_S)
    links[0].stop()
    stop.set()
    thread.join(WAIT_S)
    with engine.connect() as connection:
        stored = list(connection.scalars(select(RECORDS.c.seq).order_by("seq")))
    engine.dispose()

    assert ack == Ack(boot=BOOT, lane=Lane.METRIC, upto=3)
    assert stored == [1, 2, 3]


def test_what_was_not_done_comes_again_after_a_reconnection(
    broker: int, device: tuple[mqtt.Client, "queue.Queue[Ack]"]
) -> None:
    """The session outlives the hub: a batch without PUBACK is delivered again."""
    client, _ = device
    seen: queue.Queue[tuple[str, object]] = queue.Queue()

    def make() -> HubLink:
        return HubLink(
            BrokerConfig(port=broker),
            on_batch=lambda topic, _payload, done: seen.put((topic, done)),
            on_control=lambda _address, _payload: None,
            on_up=lambda: None,
        )

    first = make()
    first.start()
    assert first.wait_up(WAIT_S)
    assert first.publish("shoal/v1/hub/tuf", b"{}")  # so the subscription is through
    client.publish(topics.up("dev-1", Lane.STATE), b"x", qos=1).wait_for_publish(WAIT_S)
    topic, _ = seen.get(timeout=WAIT_S)
    first.stop()
    second = make()
    second.start()
    again, done = seen.get(timeout=WAIT_S)
    assert callable(done)
    done()
    second.stop()

    assert topic == again == "shoal/v1/dev-1/up/state"
    assert seen.empty()


def test_control_messages_and_confirmed_publishes(
    broker: int, device: tuple[mqtt.Client, "queue.Queue[Ack]"]
) -> None:
    """Retained presence reaches the hub; publish tells whether the broker has it."""
    client, _ = device
    presence = topics.leaf("dev-1", Leaf.PRESENCE)
    client.publish(presence, b"hello", qos=1, retain=True).wait_for_publish(WAIT_S)
    heard: queue.Queue[tuple[Address, bytes]] = queue.Queue()
    inside: queue.Queue[bool] = queue.Queue()
    links: list[HubLink] = []
    links.append(
        HubLink(
            BrokerConfig(port=broker),
            on_batch=lambda _topic, _payload, _done: None,
            on_control=lambda address, payload: heard.put((address, payload)),
            on_up=lambda: inside.put(links[0].publish("shoal/v1/hub/tuf", b"{}")),
        )
    )
    links[0].start()
    got = heard.get(timeout=WAIT_S)
    confirmed = links[0].publish("shoal/v1/hub/tuf", b"{}", retain=True)
    links[0].stop()

    assert got == (Address("dev-1", Leaf.PRESENCE), b"hello")
    assert confirmed
    assert inside.get(timeout=WAIT_S) is False
    assert not links[0].publish("shoal/v1/hub/tuf", b"{}")


def test_a_missing_broker_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Without a broker the link keeps trying and says so one time."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    link = HubLink(
        BrokerConfig(port=port),
        on_batch=lambda _topic, _payload, _done: None,
        on_control=lambda _address, _payload: None,
        on_up=lambda: None,
    )
    link.start()
    up = link.wait_up(2.5)
    link.stop()

    assert not up
    assert [r.message for r in caplog.records].count("link.down") == 1
