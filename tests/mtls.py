"""A hub, a mosquitto that it configured, and clients that show certificates."""

import getpass
import queue
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import paho.mqtt.client as mqtt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.base.tls import client_context
from edge_agent.wire.enrol import EnrolRequest
from hub.config import BrokerConfig, TlsConfig
from hub.identity.broker import hub_broker
from hub.service import Services
from tests.hub_broker import MOSQUITTO, is_listening

WAIT_S = 10.0


def keep_local(folder: Path, port: int) -> None:
    """Let the broker listen on loopback, and stay the user who starts it."""
    path = folder / "mosquitto.conf"
    text = path.read_text("utf-8")
    text = text.replace(f"listener {port}\n", f"listener {port} 127.0.0.1\n")
    path.write_text(text + f"user {getpass.getuser()}\n", "utf-8")


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
        client.on_message = lambda _c, _u, m: self.inbox.put(
            (m.topic, bytes(m.payload))
        )
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
