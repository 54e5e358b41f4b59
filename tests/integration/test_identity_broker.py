"""mTLS and access rules against a real mosquitto with the configuration we write."""

import os
import queue
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edge_agent.base.clock import SystemClock
from edge_agent.base.tls import client_context
from edge_agent.wire import topics
from edge_agent.wire.topics import Lane, Leaf
from hub.config import Home
from hub.home import create_home
from hub.identity.broker import PID_FILE, reload_broker, write_broker, write_revocations
from hub.identity.ca import WATCH_USER
from hub.link import HubLink
from hub.service import open_services
from tests.hub_broker import free_port
from tests.mtls import (
    WAIT_S,
    Client,
    Rig,
    hub_files,
    keep_local,
    new_request,
    run_broker,
)

FILTERS = ("#", "shoal/v1/#", "shoal/v1/d2/#", "shoal/v1/+/desired", "shoal/v1/d2/ack")


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """Return a hub with a configured broker that does not run yet."""
    home = Home(tmp_path / "home")
    create_home(home, SystemClock())
    services = open_services(home)
    port = free_port()
    folder = tmp_path / "broker"
    write_broker(folder, services.identity, [], port)
    # Started by root it would become a user that may not read this folder.
    keep_local(folder, port)
    yield Rig(services, folder, port, tmp_path)
    services.engine.dispose()


@pytest.fixture
def clients(rig: Rig) -> Iterator[tuple[Client, Client, Client]]:
    """Return the hub and the devices d1 and d2, connected to a running broker."""
    with run_broker(rig.folder, rig.port):
        made = (
            Client(rig, hub_files(rig), "shoal-hub"),
            Client(rig, rig.enrol("d1"), "d1"),
            Client(rig, rig.enrol("d2"), "d2"),
        )
        assert all(client.accepted() for client in made)
        yield made
        for client in made:
            client.close()


def test_a_device_and_the_hub_use_their_own_topics(
    clients: tuple[Client, Client, Client],
) -> None:
    """Whatever PROTOCOL.md gives to a device works in both directions."""
    hub, device, _ = clients
    up = [topics.up("d1", lane) for lane in Lane]
    up += [topics.leaf("d1", leaf) for leaf in (Leaf.PRESENCE, Leaf.REPORTED)]
    down = [topics.leaf("d1", leaf) for leaf in (Leaf.DESIRED, Leaf.ACK, Leaf.CMD)]
    down.append(topics.HUB_TUF)
    hub.subscribe("shoal/v1/+/up/+", "shoal/v1/+/presence", "shoal/v1/+/reported")
    device.subscribe(*down)

    for topic in up:
        device.publish(topic, b"x")
    for topic in down:
        hub.publish(topic, b"x")

    assert hub.until(up[-1]) == up
    assert device.until(down[-1]) == down


def test_nothing_can_be_written_but_a_devices_own_topics(
    clients: tuple[Client, Client, Client],
) -> None:
    """What d1 publishes elsewhere reaches nobody, the hub and d2 included."""
    hub, device, other = clients
    hub.subscribe("#")
    other.subscribe(topics.leaf("d2", Leaf.DESIRED), topics.leaf("d2", Leaf.CMD))
    forbidden = [topics.up("d2", lane) for lane in Lane]
    forbidden += [topics.leaf("d2", leaf) for leaf in Leaf]
    forbidden += [
        topics.leaf("d1", leaf) for leaf in (Leaf.DESIRED, Leaf.ACK, Leaf.CMD)
    ]
    forbidden += [topics.HUB_TUF, "anything"]

    for topic in forbidden:
        device.publish(topic, b"forged", retain=True)
    own = topics.up("d1", Lane.ALERT)
    device.publish(own, b"x")
    hub.publish(topics.leaf("d2", Leaf.CMD), b"x")

    seen = hub.until(topics.leaf("d2", Leaf.CMD))
    assert set(seen) == {own, topics.leaf("d2", Leaf.CMD)}
    assert other.until(topics.leaf("d2", Leaf.CMD)) == [topics.leaf("d2", Leaf.CMD)]


def test_nothing_of_another_device_is_delivered_to_who_subscribed(
    rig: Rig, clients: tuple[Client, Client, Client]
) -> None:
    """Mosquitto grants the filters, and delivers only the device's own topics."""
    hub, device, other = clients
    secret = [topics.leaf("d2", leaf) for leaf in (Leaf.DESIRED, Leaf.ACK, Leaf.CMD)]
    hub.publish(secret[0], b"retained before", retain=True)
    device.subscribe(*FILTERS)

    for topic in secret:
        hub.publish(topic, b"x", retain=True)
    for lane in Lane:
        other.publish(topics.up("d2", lane), b"x")
    other.publish(topics.leaf("d2", Leaf.PRESENCE), b"x", retain=True)
    other.publish(topics.leaf("d2", Leaf.REPORTED), b"x", retain=True)
    device.publish(topics.up("d1", Lane.METRIC), b"x")
    last = topics.leaf("d1", Leaf.ACK)
    hub.publish(last, b"x")

    assert set(device.until(last)) == {last}


def test_a_session_belongs_to_the_certificate(
    rig: Rig, clients: tuple[Client, Client, Client]
) -> None:
    """A device that calls itself d2 neither throws d2 out nor gets its messages."""
    hub, _, other = clients
    other.subscribe(topics.leaf("d2", Leaf.CMD))
    thief = Client(rig, rig.enrol("d3"), "d2")
    assert thief.accepted()
    thief.subscribe(topics.leaf("d2", Leaf.CMD), topics.leaf("d3", Leaf.CMD))

    hub.publish(topics.leaf("d2", Leaf.CMD), b"x")
    hub.publish(topics.leaf("d3", Leaf.CMD), b"x")

    other.until(topics.leaf("d2", Leaf.CMD))
    last = topics.leaf("d3", Leaf.CMD)
    assert thief.until(last) == [last]
    thief.close()


def test_who_looks_on_reads_everything_and_writes_nothing(
    rig: Rig, clients: tuple[Client, Client, Client]
) -> None:
    """The certificate of ``hub tail`` is worth less than the hub's."""
    hub, device, _ = clients
    watch = Client(rig, hub_files(rig, WATCH_USER), "tail")
    assert watch.accepted()
    watch.subscribe("shoal/v1/#")
    hub.subscribe("#")

    watch.publish(topics.leaf("d1", Leaf.CMD), b"forged")
    own = topics.up("d1", Lane.STATE)
    device.publish(own, b"x")

    assert watch.until(own) == [own]
    assert hub.until(own) == [own]
    watch.close()


def test_no_expired_and_foreign_certificates_are_refused(
    rig: Rig, tmp_path: Path
) -> None:
    """Only who shows a valid certificate of this hub gets a session."""
    authority = rig.services.identity.authority()
    long_ago = datetime.now(UTC) - timedelta(days=91)
    key, csr = new_request()
    expired = authority.sign_device(csr.encode(), "d1", long_ago).pem.decode()
    stranger = Home(tmp_path / "stranger")
    create_home(stranger, SystemClock())
    services = open_services(stranger)
    foreign_key, foreign_csr = new_request()
    foreign = services.identity.authority().sign_device(
        foreign_csr.encode(), "d1", datetime.now(UTC)
    )
    services.engine.dispose()
    refused = {
        "none": (str(rig.services.home.ca_file),),
        "expired": rig.write("expired", expired, key),
        "foreign": rig.write("foreign", foreign.pem.decode(), foreign_key),
    }

    with run_broker(rig.folder, rig.port):
        outcomes = {}
        for name, files in refused.items():
            client = Client(rig, files)
            outcomes[name] = client.accepted()
            client.close()
        good = Client(rig, rig.enrol("d1"))
        assert good.accepted()
        good.close()

    assert outcomes == {"none": False, "expired": False, "foreign": False}


def test_a_revoked_certificate_is_refused_and_the_others_are_not(rig: Rig) -> None:
    """The broker that starts with the new list lets the device in no more."""
    first, second = rig.enrol("d1"), rig.enrol("d2")
    with run_broker(rig.folder, rig.port):
        before = Client(rig, first)
        assert before.accepted()
        before.close()
    rig.services.identity.revoke("d1")
    write_revocations(rig.folder, rig.services.identity)

    with run_broker(rig.folder, rig.port):
        revoked, other = Client(rig, first), Client(rig, second)
        assert not revoked.accepted()
        assert other.accepted()
        revoked.close()
        other.close()


def test_a_revocation_holds_at_once_without_a_restart(rig: Rig) -> None:
    """The open session says and hears nothing more, and no new one begins."""
    files, probe = rig.enrol("d1"), rig.enrol("d3")
    with run_broker(rig.folder, rig.port):
        hub, device, other = (
            Client(rig, hub_files(rig)),
            Client(rig, files),
            Client(rig, rig.enrol("d2"), "d2"),
        )
        assert hub.accepted()
        assert device.accepted()
        assert other.accepted()
        hub.subscribe("shoal/v1/+/up/#")
        device.subscribe(topics.leaf("d1", Leaf.ACK))
        other.subscribe(topics.leaf("d2", Leaf.ACK))
        for name in ("d1", "d3"):
            rig.services.identity.revoke(name)
        write_revocations(rig.folder, rig.services.identity)
        assert reload_broker(rig.folder)
        deadline = time.monotonic() + WAIT_S
        while (refused := Client(rig, probe)).accepted():
            refused.close()  # the broker has not yet read the list
            assert time.monotonic() < deadline

        device.publish(topics.up("d1", Lane.ALERT), b"x")
        own = topics.up("d2", Lane.ALERT)
        other.publish(own, b"x")
        hub.publish(topics.leaf("d1", Leaf.ACK), b"x")
        hub.publish(topics.leaf("d2", Leaf.ACK), b"x")

        assert hub.until(own) == [own]
        assert other.until(topics.leaf("d2", Leaf.ACK))
        assert device.inbox.empty()
        for client in (hub, device, other, refused):
            client.close()


def test_a_broker_that_is_not_there_is_not_signalled(rig: Rig) -> None:
    """Neither without a process number nor with one that is somebody else's."""
    assert not reload_broker(rig.folder)
    (rig.folder / PID_FILE).write_text(str(os.getpid()), "ascii")
    assert not reload_broker(rig.folder)


def test_plaintext_gets_no_answer_from_the_broker(rig: Rig) -> None:
    """The listener speaks TLS only."""
    connect = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01c"
    with (
        run_broker(rig.folder, rig.port),
        socket.create_connection(("127.0.0.1", rig.port), WAIT_S) as plain,
    ):
        plain.sendall(connect)
        try:
            answer = plain.recv(64)
        except ConnectionError:
            answer = b""

    assert answer[:1] != b"\x20"


def test_the_hubs_link_works_over_mutual_tls(rig: Rig) -> None:
    """With the files of its home the hub connects and publishes."""
    link = HubLink(
        rig.hub_config(),
        on_batch=lambda _topic, _payload, done: done(),
        on_control=lambda _address, _payload: None,
        on_up=lambda: None,
    )
    with run_broker(rig.folder, rig.port):
        link.start()
        assert link.wait_up(WAIT_S)
        assert link.publish(topics.HUB_TUF, b"{}", retain=True)
        link.stop()


def test_a_server_with_another_name_is_refused(rig: Rig) -> None:
    """The context of device and hub compares the name they asked for."""
    context = client_context(*hub_files(rig))

    def is_named(host: str) -> bool:
        with socket.create_connection(("127.0.0.1", rig.port), WAIT_S) as plain:
            wrapped = context.wrap_socket(
                plain, server_hostname=host, do_handshake_on_connect=False
            )
            with wrapped:
                try:
                    wrapped.do_handshake()
                except ssl.SSLCertVerificationError:
                    return False
                return True

    with run_broker(rig.folder, rig.port):
        assert is_named("localhost")
        assert is_named("127.0.0.1")
        assert not is_named("127.0.0.2")
        assert not is_named("broker.example.org")


def test_without_hosts_it_listens_on_loopback_only(rig: Rig, tmp_path: Path) -> None:
    """A broker that others are to reach is one whose names were said."""
    open_folder = tmp_path / "open"
    write_broker(open_folder, rig.services.identity, ["broker.example.org"], 8883)

    lines = (rig.folder / "mosquitto.conf").read_text("utf-8").splitlines()
    assert f"listener {rig.port} 127.0.0.1" in lines
    lines = (open_folder / "mosquitto.conf").read_text("utf-8").splitlines()
    assert "listener 8883" in lines


def test_a_device_writes_to_its_four_lanes_and_to_no_other_topic_under_up(
    clients: tuple[Client, Client, Client],
) -> None:
    """So there is nothing else where it could leave retained messages."""
    hub, device, _ = clients
    hub.subscribe("#")
    for name in ("junk", "metric/more", "1", ""):
        device.publish(f"shoal/v1/d1/up/{name}", b"x", retain=True)
    own = topics.up("d1", Lane.METRIC)
    device.publish(own, b"x")

    assert hub.until(own) == [own]


def test_a_retained_batch_is_cleared_away_and_not_taken_in(rig: Rig) -> None:
    """The broker keeps it no longer than until the hub comes, and no hub reads it."""
    came: queue.Queue[bytes] = queue.Queue()

    def take(_topic: str, payload: bytes, done: Callable[[], None]) -> None:
        came.put(payload)
        done()

    with run_broker(rig.folder, rig.port):
        device = Client(rig, rig.enrol("d1"), "d1")
        assert device.accepted()
        own = topics.up("d1", Lane.METRIC)
        device.publish(own, b"retained junk", retain=True)
        link = HubLink(
            rig.hub_config(), on_batch=take, on_control=None, on_up=lambda: None
        )
        link.start()
        assert link.wait_up(WAIT_S)
        deadline = time.monotonic() + 2 * WAIT_S
        while True:
            late = Client(rig, hub_files(rig, WATCH_USER), "tail")
            assert late.accepted()
            late.subscribe(own)
            device.publish(own, b"fresh")
            if late.inbox.get(timeout=WAIT_S)[1] == b"fresh":
                break
            late.close()
            assert time.monotonic() < deadline, "the junk is still retained"
        late.close()
        device.close()
        link.stop()
    assert set(came.queue) == {b"fresh"}


def test_an_idle_broker_does_not_write_what_it_holds_again_and_again(
    rig: Rig,
) -> None:
    """Junk that it keeps is on disk once at its end, and not once a second."""
    lines = (rig.folder / "mosquitto.conf").read_text("utf-8").splitlines()
    settings = dict(line.split(" ", 1) for line in lines if not line.startswith("#"))
    assert settings["persistence"] == "true"
    assert "autosave_on_changes" not in settings

    # All that a broker may hold, saved at each interval, is a rate a disk bears.
    held = int(settings["memory_limit"])
    assert held / int(settings["autosave_interval"]) < 2 << 20
    assert int(settings["max_queued_bytes"]) <= held / 4
    assert int(settings["max_packet_size"]) >= 4 << 20
