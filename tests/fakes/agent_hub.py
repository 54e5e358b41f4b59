"""A hub for tests of the agent: real broker, real HTTP, the protocol's least."""

import contextlib
import getpass
import http.server
import queue
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.wire import topics
from edge_agent.wire.batch import decode_batch
from edge_agent.wire.codec import decode, encode
from edge_agent.wire.control import Presence, Reported, TufBundle
from edge_agent.wire.envelope import Envelope
from tests.fakes.model_hub import ModelHub

MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
PASSWD = shutil.which("mosquitto_passwd") or "/usr/bin/mosquitto_passwd"
WAIT_S = 30.0


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running_broker(
    folder: Path, port: int, passwords: Mapping[str, str] | None = None
) -> Iterator[int]:
    """Run mosquitto on a port until the block ends; yield its process id."""
    folder.mkdir(parents=True, exist_ok=True)
    conf = folder / "mosquitto.conf"
    who = "allow_anonymous true"
    if passwords:
        who = f"allow_anonymous false\npassword_file {folder / 'passwords'}"
        for user, password in passwords.items():
            subprocess.run(
                [PASSWD, "-c", "-b", folder / "passwords", user, password], check=True
            )
    # As root it would become a user of its own, who cannot read a test's folder.
    conf.write_text(f"listener {port} 127.0.0.1\nuser {getpass.getuser()}\n{who}\n")
    process = subprocess.Popen(
        [MOSQUITTO, "-c", str(conf)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: _answers(port), "the broker")
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 0.2).close()
    except OSError:
        return False
    return True


def wait_for(
    holds: Callable[[], object], what: str, *, timeout_s: float = WAIT_S
) -> None:
    """Wait until a condition holds.

    Raises:
        AssertionError: It does not in time.
    """
    deadline = time.monotonic() + timeout_s
    tick = threading.Event()
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain for {what}")
        tick.wait(0.05)


class AgentHub:
    """Takes batches, acknowledges, keeps the newest presence and twin."""

    def __init__(self, port: int, device: str) -> None:
        """Connect to the broker."""
        self.device = device
        self.model = ModelHub()
        self.presence: list[Presence] = []
        self.reported: list[Reported] = []
        self.acking = True
        self._subscribed = threading.Event()
        self._jobs: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="hub-test")
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._client.subscribe([("shoal/v1/#", 1)])
        self._subscribed.wait(5)

    def close(self) -> None:
        """Leave the broker."""
        self._client.disconnect()
        self._client.loop_stop()

    def desire(self, envelope: Envelope) -> None:
        """Publish an assignment, retained."""
        self._publish(topics.leaf(self.device, topics.Leaf.DESIRED), encode(envelope))

    def command(self, envelope: Envelope) -> None:
        """Publish a command."""
        topic = topics.leaf(self.device, topics.Leaf.CMD)
        self._client.publish(topic, encode(envelope), qos=1)

    def metadata(self, bundle: TufBundle) -> None:
        """Publish TUF metadata, retained."""
        self._publish(topics.HUB_TUF, encode(bundle))

    def _publish(self, topic: str, payload: bytes) -> None:
        self._client.publish(topic, payload, qos=1, retain=True).wait_for_publish(5)

    def _on_message(
        self, client: paho.Client, _userdata: object, message: paho.MQTTMessage
    ) -> None:
        address = topics.parse(message.topic)
        if address is None or address.device != self.device:
            return
        payload = bytes(message.payload)
        if isinstance(address.kind, topics.Lane):
            if self.acking:
                ack = self.model.take(decode_batch(payload))
                topic = topics.leaf(self.device, topics.Leaf.ACK)
                client.publish(topic, encode(ack), qos=1)
        elif address.kind is topics.Leaf.PRESENCE:
            self.presence.append(decode(payload, Presence))
        elif address.kind is topics.Leaf.REPORTED:
            self.reported.append(decode(payload, Reported))


@contextlib.contextmanager
def artifact_server(blobs: Mapping[str, bytes]) -> Iterator[tuple[str, list[str]]]:
    """Serve artifacts with Range; yield the address and the ranges asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = blobs.get(self.path.rsplit("/", 1)[-1])
            wanted = self.headers.get("Range", "")
            asked.append(wanted)
            if data is None:
                self.send_error(404)
                return
            start = int(wanted[6:].split("-")[0]) if wanted else 0
            self.send_response(206 if wanted else 200)
            if wanted:
                end = f"bytes {start}-{len(data) - 1}/{len(data)}"
                self.send_header("Content-Range", end)
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            self.wfile.write(data[start:])

        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, name="artifacts")
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def dripping_server(data: bytes) -> Iterator[str]:
    """Serve a file byte by byte, each after a moment, for as long as somebody reads."""
    gone = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            with contextlib.suppress(OSError):
                for byte in data:
                    self.wfile.write(bytes([byte]))
                    if gone.wait(0.1):
                        return

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Keep quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        gone.set()
        server.shutdown()
        thread.join()
