"""A served hub with a real broker: who is online, and what the broker keeps."""

import json
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from click.testing import CliRunner
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.base.clock import SystemClock
from edge_agent.wire import codec
from edge_agent.wire.control import Presence
from hub.cli import cli
from hub.config import Home
from hub.home import create_home
from tests.hub_broker import free_port, mosquitto

BOOT = "00000000000000aa"
_WAIT_S = 30.0


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Return a home folder without a release."""
    home = Home(tmp_path / "home")
    create_home(home, SystemClock())
    return home


def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + _WAIT_S
    pause = queue.Queue[None]()
    while not condition():
        assert time.monotonic() < deadline
        try:
            pause.get(timeout=0.1)
        except queue.Empty:
            continue


def serve(home: Home, broker: int) -> subprocess.Popen[bytes]:
    """Start the hub at a broker."""
    home.config_file.write_text(
        f"tick_s = 0.05\n[broker]\nport = {broker}\n[api]\nport = {free_port()}\n",
        "utf-8",
    )
    return subprocess.Popen(
        [sys.executable, "-m", "hub", "--home", str(home.path), "serve"],
        stderr=subprocess.DEVNULL,
    )


def listed(home: Home) -> dict[str, dict[str, object]]:
    """Return what `hub devices list --json` says, by device."""
    done = CliRunner().invoke(
        cli, ["--home", str(home.path), "devices", "list", "--json"]
    )
    return {one["id"]: one for one in json.loads(done.stdout)}


class Device:
    """A client that announces a device and hears what the broker keeps of it."""

    def __init__(self, port: int, name: str, *, announce: bool) -> None:
        """Connect; ``announce`` publishes a retained birth."""
        self.kept: dict[str, bytes] = {}
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self.client.on_message = lambda _client, _data, message: self.kept.update(
            {message.topic: bytes(message.payload)} if message.retain else {}
        )
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        self.client.subscribe(f"shoal/v1/{name}/#", qos=1)
        if announce:
            birth = Presence(device=name, boot=BOOT, online=True, at=1.0)
            topic = f"shoal/v1/{name}/presence"
            sent = self.client.publish(topic, codec.encode(birth), qos=1, retain=True)
            sent.wait_for_publish(_WAIT_S)

    def close(self) -> None:
        """Disconnect."""
        self.client.disconnect()
        self.client.loop_stop()


def test_nobody_is_online_where_the_hub_cannot_know_it(
    home: Home, tmp_path: Path
) -> None:
    """Online turns false when the broker is gone, and the list says since when."""
    with mosquitto(tmp_path) as port:
        process = serve(home, port)
        try:
            device = Device(port, "pump", announce=True)
            until(lambda: "pump" in listed(home) and listed(home)["pump"]["online"])
            assert listed(home)["pump"]["link"] == "up"
            assert isinstance(listed(home)["pump"]["online_at"], float)
            device.close()
        except BaseException:
            process.kill()
            raise
    try:
        until(lambda: listed(home)["pump"]["link"] == "down")
        assert listed(home)["pump"]["online"] is False
        shown = CliRunner().invoke(cli, ["--home", str(home.path), "devices", "list"])
        assert "the hub lost its broker" in shown.stderr
        assert " ago" in shown.stdout
    finally:
        process.kill()
        process.wait(_WAIT_S)


def test_the_broker_keeps_nothing_of_a_forgotten_device(
    home: Home, tmp_path: Path
) -> None:
    """The serving hub deletes retained messages, and takes no late ones in."""
    with mosquitto(tmp_path) as port:
        process = serve(home, port)
        try:
            device = Device(port, "pump", announce=True)
            until(lambda: "pump" in listed(home))
            until(lambda: listed(home)["pump"]["link"] == "up")
            done = CliRunner().invoke(
                cli,
                [
                    "--home",
                    str(home.path),
                    "devices",
                    "forget",
                    "pump",
                    "--yes",
                    "--json",
                ],
            )
            assert done.exit_code == 0
            assert json.loads(done.stdout)[0]["erased_at"] is not None
            device.close()
            late = Device(port, "pump", announce=True)
            other = Device(port, "valve", announce=True)
            until(lambda: "valve" in listed(home))
            assert set(listed(home)) == {"valve"}
            late.close()
            other.close()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(_WAIT_S)


def test_retained_messages_go_when_the_hub_serves_again(
    home: Home, tmp_path: Path
) -> None:
    """Forgotten while nothing served: the id goes at the next start, with the rest."""
    with mosquitto(tmp_path) as port:
        process = serve(home, port)
        device = Device(port, "pump", announce=True)
        until(lambda: "pump" in listed(home))
        process.kill()
        process.wait(_WAIT_S)
        command = ["--home", str(home.path), "devices", "forget", "pump", "--yes"]
        assert CliRunner().invoke(cli, command).exit_code == 0
        device.close()
        process = serve(home, port)
        try:
            until(lambda: b"pump" not in (home.path / "hub.db").read_bytes())
            looks = Device(port, "pump", announce=False)
            witness = Device(port, "valve", announce=True)
            until(lambda: witness.kept or "valve" in listed(home))
            assert looks.kept == {}
            looks.close()
            witness.close()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(_WAIT_S)
