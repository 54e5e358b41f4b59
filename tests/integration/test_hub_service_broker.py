"""``hub serve`` as a process, with a real broker and a real HTTP client."""

import json
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.base.clock import SystemClock
from edge_agent.wire import codec
from edge_agent.wire.control import Assignment, Presence, TufBundle
from edge_agent.wire.envelope import Envelope
from hub.config import Home
from hub.home import create_home
from hub.service import open_services
from tests.hub_broker import free_port, mosquitto
from tests.hub_bundle import make_bundle

BOOT = "00000000000000aa"
_WAIT_S = 20.0


def until(condition: Callable[[], object], process: subprocess.Popen[bytes]) -> None:
    """Wait until a condition holds, as long as the process lives."""
    deadline = time.monotonic() + _WAIT_S
    pause = queue.Queue[None]()
    while not condition():
        assert process.poll() is None, "the hub has ended"
        assert time.monotonic() < deadline
        try:
            pause.get(timeout=0.05)
        except queue.Empty:
            continue


def write_config(home: Home, broker: int) -> int:
    """Point a home at a broker and return the port of its HTTP server."""
    port = free_port()
    home.config_file.write_text(
        f"tick_s = 0.05\n[broker]\nport = {broker}\n[api]\nport = {port}\n", "utf-8"
    )
    return port


def serve(home: Home) -> subprocess.Popen[bytes]:
    """Start the hub."""
    return subprocess.Popen(
        [sys.executable, "-m", "hub", "--home", str(home.path), "serve"],
        stderr=subprocess.PIPE,
    )


def is_healthy(port: int) -> bool:
    """Tell whether the hub serves HTTP."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=1).is_success
    except httpx.HTTPError:
        return False


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Return a home folder with one published release."""
    home = Home(tmp_path / "home")
    create_home(home, SystemClock())
    services = open_services(home)
    bundle = make_bundle(tmp_path / "bundle")
    services.releases.publish(services.releases.take_in(bundle))
    services.engine.dispose()
    return home


class Device:
    """A client that keeps what it receives by topic."""

    def __init__(self, port: int, name: str) -> None:
        """Connect and subscribe to what devices subscribe to."""
        self.retained: dict[str, bytes] = {}
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name)
        self.client.on_message = lambda _client, _data, message: self.retained.update(
            {message.topic: bytes(message.payload)}
        )
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        self.client.subscribe([(f"shoal/v1/{name}/desired", 1), ("shoal/v1/hub/+", 1)])
        birth = Presence(
            device=name, boot=BOOT, online=True, at=1.0, labels={"cohort": "left"}
        )
        self.client.publish(
            f"shoal/v1/{name}/presence", codec.encode(birth), qos=1, retain=True
        )

    def close(self) -> None:
        """Disconnect."""
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[int]:
    """Run mosquitto."""
    with mosquitto(tmp_path) as port:
        yield port


def test_from_presence_to_a_signed_assignment(home: Home, broker: int) -> None:
    """A device appears, is assigned the release, and can fetch what it needs."""
    port = write_config(home, broker)
    dead = [folder / ".part-dead" for folder in (home.artifacts, home.tuf, home.keys)]
    for path in dead:
        path.write_bytes(b"half")
    process = serve(home)
    device = Device(broker, "d1")
    services = open_services(home)
    try:
        until(lambda: is_healthy(port), process)
        assert not any(path.exists() for path in dead)
        until(services.devices.list_devices, process)
        assert services.devices.get("d1")[0].cohort == "left"

        services.rollouts.start(1)
        until(lambda: device.retained.get("shoal/v1/d1/desired"), process)

        envelope = codec.decode(device.retained["shoal/v1/d1/desired"], Envelope)
        assignment = codec.decode(envelope.payload.encode(), Assignment)
        assert (assignment.release, assignment.seq) == (1, 1)
        bundle = codec.decode(device.retained["shoal/v1/hub/tuf"], TufBundle)
        assert bundle == services.releases.tuf_bundle()
        digest = services.releases.get(1).model_sha256
        url = f"{assignment.artifacts_url}/artifacts/{digest}"
        whole = httpx.get(url).content
        part = httpx.get(url, headers={"Range": "bytes=100-"})
        assert (part.status_code, part.content) == (206, whole[100:])
    finally:
        device.close()
        process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        _, errors = process.communicate(timeout=10)
        services.engine.dispose()
    assert process.returncode == 0, errors.decode()
    assert time.monotonic() - started < 3


def test_without_a_broker_it_serves_and_says_so_once(home: Home) -> None:
    """It keeps trying, quietly, and ends cleanly."""
    port = write_config(home, free_port())
    process = serve(home)
    try:
        until(lambda: is_healthy(port), process)
        health = httpx.get(f"http://127.0.0.1:{port}/healthz").json()
        assert (health["ok"], health["broker"]) == (True, False)
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)
    assert process.returncode == 0
    events = [json.loads(line)["event"] for line in errors.decode().splitlines()]
    assert events.count("link.down") <= 1
    warnings = [line for line in errors.decode().splitlines() if "keys.warning" in line]
    assert "who steals the hub" in warnings[0]
    assert str(home.offline_keys) in warnings[0]


def test_a_port_in_use_is_said_without_a_traceback(home: Home, broker: int) -> None:
    """The second hub on a port ends with code 8 and a text."""
    home.config_file.write_text(
        f"[broker]\nport = {broker}\n[api]\nport = {broker}\n", "utf-8"
    )
    process = serve(home)
    _, errors = process.communicate(timeout=20)

    assert process.returncode == 8
    said = [line for line in errors.decode().splitlines() if "keys.warning" not in line]
    assert said[0].startswith("HUB-API-001: cannot listen on 127.0.0.1")
