"""mTLS and access rules against a real mosquitto with the configuration we write."""

import queue
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.base.clock import SystemClock
from edge_agent.base.tls import client_context
from edge_agent.wire import topics
from edge_agent.wire.enrol import EnrolRequest
from edge_agent.wire.topics import Lane, Leaf
from hub.config import BrokerConfig, Home, TlsConfig
from hub.home import create_home
from hub.identity.broker import hub_broker, write_broker, write_revocations
from hub.identity.ca import WATCH_USER
from hub.link import HubLink
from hub.service import Services, open_services
from tests.hub_broker import MOSQUITTO, free_port, is_listening

WAIT_S = 10.0
FILTERS = ("#", "shoal/v1/#", "shoal/v1/d2/#", "shoal/v1/+/desired", "shoal/v1/d2/ack")


@contextmanager
def run_broker(folder: Path, port: int) -> Iterator[None]:
    """Run mosquitto with the configuration of a folder."""
    assert MOSQUITTO is not None
    command = [MOSQUITTO, "-c", str(folder / "mosquitto.conf")]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + WAIT_S
        while not is_listening(port):
            assert process.poll() is None, "mosquitto refuses its configuration"
            assert time.monotonic() < deadline, "mosquitto does not listen"
        yield
    finally:
        process.terminate()
        process.wait(WAIT_S)


@dataclass
class Rig:
    """A hub's home, the broker's folder, and where certificates of devices go."""

    services: Services
    folder: Path
    port: int
    certificates: Path

    def enrol(self, device: str) -> tuple[str, str, str]:
        """Return ca, certificate and key file of a device that enrolled."""
        identity = self.services.identity
        key, csr = new_request()
        token = identity.issue_token(device, 60).token
        reply = identity.enrol(EnrolRequest(device=device, token=token, csr=csr))
        return self.write(device, reply.certificate, key)

    def write(self, name: str, certificate: str, key: str) -> tuple[str, str, str]:
        """Write a certificate and its key and return them with the CA's."""
        pem, private = self.certificates / f"{name}.pem", self.certificates / name
        pem.write_text(certificate, "utf-8")
        private.write_text(key, "utf-8")
        return str(self.services.home.ca_file), str(pem), str(private)

    def hub_config(self, user: str = "shoal-hub") -> BrokerConfig:
        """Return the hub's way to the broker."""
        config = BrokerConfig(port=self.port, tls=TlsConfig(enabled=True))
        return hub_broker(self.services.home, config, user)


def new_request() -> tuple[str, str]:
    """Return a private key and a signing request, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    built = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private.decode(), built.sign(key, hashes.SHA256()).public_bytes(pem).decode()


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
    with (folder / "mosquitto.conf").open("a") as config:
        config.write("user root\n")
    yield Rig(services, folder, port, tmp_path)
    services.engine.dispose()


class Client:
    """A plain MQTT client that shows a certificate."""

    def __init__(self, rig: Rig, files: tuple[str, ...], name: str = "c") -> None:
        """Connect; ``accepted`` tells how that went."""
        self.inbox: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self._up, self._granted = threading.Event(), threading.Event()
        self._ended = threading.Event()
        self.client = client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name)
        client.tls_set_context(client_context(*files))
        client.on_connect = lambda *_: self._up.set()
        client.on_disconnect = lambda *_: self._ended.set()
        client.on_subscribe = lambda *_: self._granted.set()
        client.on_message = lambda _c, _u, m: self.inbox.put((m.topic, m.payload))
        self.failure = ""
        try:
            client.connect("localhost", rig.port)
        except (ssl.SSLError, ConnectionError) as error:
            self.failure = str(error)
            return
        client.loop_start()

    def accepted(self) -> bool:
        """Wait until the broker took or refused the connection."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline and not self.failure:
            if self._up.wait(0.05):
                return True
            if self._ended.is_set():
                return False
        return False

    def subscribe(self, *filters: str) -> None:
        """Subscribe and wait for the answer, which mosquitto always grants."""
        self._granted.clear()
        self.client.subscribe([(each, 1) for each in filters])
        assert self._granted.wait(WAIT_S)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish and wait for the broker's PUBACK."""
        info = self.client.publish(topic, payload, qos=1, retain=retain)
        info.wait_for_publish(WAIT_S)

    def until(self, topic: str) -> list[str]:
        """Return the topics of all messages until one of ``topic`` comes."""
        seen: list[str] = []
        while not seen or seen[-1] != topic:
            seen.append(self.inbox.get(timeout=WAIT_S)[0])
        return seen

    def close(self) -> None:
        """End the connection."""
        self.client.disconnect()
        self.client.loop_stop()


def hub_files(rig: Rig, user: str = "shoal-hub") -> tuple[str, ...]:
    """Return the files of one of the hub's own certificates."""
    tls = rig.hub_config(user).tls
    return tls.ca, tls.cert


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
