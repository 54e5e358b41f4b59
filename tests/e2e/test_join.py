"""From a model served alone to a device of a fleet, by one command on the device."""

import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from edge_agent.base.clock import SystemClock
from edge_agent.errors import AgentError
from edge_agent.serve.client import Client
from edge_agent.wire.codec import decode
from edge_agent.wire.enrol import JoinFile
from hub.config import Home
from hub.home import create_home
from hub.identity.broker import write_broker
from hub.releases.ceremony import NewKeys
from hub.service import Services, open_services
from tests.fakes.agent_hub import wait_for
from tests.hub_broker import free_port, is_listening
from tests.hub_bundle import LABELS, make_bundle
from tests.hub_keys import PASSPHRASE
from tests.mtls import keep_local, run_broker

DATA = Path(__file__).parents[1] / "data"
DEVICE = "pump-7"
CONFIG = """
tick_s = 0.1
[broker]
port = {broker}
tls.enabled = true
[api]
port = {api}
tls = true
public_url = "https://localhost:{api}"
[rollout]
stages = [1.0]
soak_s = 0.5
probation_min_predictions = 5
probation_min_s = 0.3
"""


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command of one of the programs to its end."""
    return subprocess.run(
        [sys.executable, "-m", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )


@contextmanager
def process(*words: str | Path, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a program until the block ends."""
    with log.open("ab") as out:
        made = subprocess.Popen(
            [sys.executable, "-m", *map(str, words)], stdout=out, stderr=out
        )
    try:
        yield made
    finally:
        made.send_signal(signal.SIGTERM)
        made.wait(30)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Services]:
    """Serve a hub with mutual TLS, and a release that waits to be rolled out."""
    home = Home(tmp_path / "home")
    new = NewKeys(folder=tmp_path / "usb", passphrase=PASSPHRASE)
    create_home(home, SystemClock(), new)
    broker = free_port()
    text = CONFIG.format(broker=broker, api=free_port())
    home.config_file.write_text(text, "utf-8")
    services = open_services(home)
    releases = services.releases
    releases.publish(releases.take_in(make_bundle(tmp_path / "bundle")))
    write_broker(tmp_path / "broker", services.identity, ["localhost"], broker)
    keep_local(tmp_path / "broker", broker)
    log = tmp_path / "hub.log"
    serve = ("hub", "--home", home.path, "serve")
    with run_broker(tmp_path / "broker", broker), process(*serve, log=log):
        wait_for(lambda: is_listening(services.config.api.port), "the hub")
        yield services
    services.engine.dispose()


def _served_by(socket: Path) -> tuple[str, int]:
    sample = np.ones((100, 6), np.float32)
    try:
        with Client(socket, 5.0) as client:
            made = client.infer("s", sample)
    except AgentError as error:
        return error.code, -1
    return made.served_by, made.release


def _keeps_predicting(socket: Path, stop: threading.Event) -> None:
    rng = np.random.default_rng(1)
    while not stop.wait(0.02):
        # The device may be in the middle of a swap.
        with contextlib.suppress(AgentError), Client(socket, 5.0) as client:
            client.infer("s", rng.normal(size=(100, 6)).astype(np.float32))


@pytest.mark.timeout(400)
def test_one_command_turns_a_model_alone_into_a_device_of_a_fleet(
    hub: Services, tmp_path: Path
) -> None:
    """Served alone; joined; seen by the hub; then a release takes the model's place."""
    folder, log = tmp_path / "device", tmp_path / "agent.log"
    socket = folder / "state" / "agent.sock"
    names = tmp_path / "labels.txt"
    names.write_text("\n".join(LABELS))
    alone = ("--model", DATA / "tiny.tflite", "--labels", names, "--port", "0")
    words = ("edge_agent", "run", *alone, "--state-dir", folder)
    with process(*words, log=log):
        wait_for(lambda: "serving tiny" in log.read_text(), "the model alone")
        assert _served_by(socket) == ("factory", 0)
    made = tmp_path / "pump-7.join"
    home = ("--home", hub.home.path)
    written = run("hub", *home, "devices", "join-file", DEVICE, "--to", made)
    assert written.returncode == 0, written.stderr
    assert made.stat().st_mode & 0o777 == 0o600

    joined = run("edge_agent", "join", made, "--dir", folder)
    assert joined.returncode == 0, joined.stderr
    assert "its model stays as factory" in joined.stdout

    with process("edge_agent", "run", "--config", folder / "agent.toml", log=log):
        wait_for(lambda: _is_online(hub), "the device at the hub", timeout_s=60)
        # The worker starts beside the link, after the model's self-test.
        wait_for(lambda: _served_by(socket) == ("factory", 0), "the factory model")
        stop = threading.Event()
        load = threading.Thread(target=_keeps_predicting, args=(socket, stop))
        load.start()
        try:
            rollout = hub.rollouts.start(1)
            wait_for(
                lambda: hub.rollouts.get(rollout)[0].state.value == "COMPLETED",
                "the release on the device",
                timeout_s=120,
            )
        finally:
            stop.set()
            load.join(20)
        assert _served_by(socket) == ("active", 1)
        again = run("edge_agent", "join", made, "--dir", folder)
        assert again.returncode == 5
        assert "AGENT-JOIN-002" in again.stderr
    doctor = run("edge_agent", "doctor", "--config", folder / "agent.toml", "--json")
    findings = {one["check"]: one["ok"] for one in json.loads(doctor.stdout)}
    assert findings["certificate"]
    assert findings["root of trust"]


def _is_online(hub: Services) -> bool:
    rows = hub.devices.list_devices()
    return [row.id for row in rows if row.online] == [DEVICE]


def test_a_join_that_was_cut_off_goes_on(hub: Services, tmp_path: Path) -> None:
    """After the token was used up and before agent.toml was written: done again."""
    made, folder = tmp_path / "d.join", tmp_path / "device"
    home = ("--home", hub.home.path)
    assert run("hub", *home, "devices", "join-file", "d", "--to", made).returncode == 0
    first = run("edge_agent", "join", made, "--dir", folder)
    assert first.returncode == 0, first.stderr
    config = (folder / "agent.toml").read_bytes()
    pair = (folder / "state" / "device.pem").read_bytes()
    (folder / "agent.toml").unlink()
    second = run("edge_agent", "join", made, "--dir", folder)
    assert second.returncode == 0, second.stderr
    assert (folder / "agent.toml").read_bytes() == config
    assert (folder / "state" / "device.pem").read_bytes() == pair


def test_a_token_buys_one_certificate_only(hub: Services, tmp_path: Path) -> None:
    """A copied join file is worth nothing once it was used, and changes nothing."""
    made = tmp_path / "d.join"
    home = ("--home", hub.home.path)
    assert run("hub", *home, "devices", "join-file", "d", "--to", made).returncode == 0
    assert run("edge_agent", "join", made, "--dir", tmp_path / "one").returncode == 0
    thief = run("edge_agent", "join", made, "--dir", tmp_path / "two")
    assert thief.returncode == 1
    assert "HUB-ENROL-003" in thief.stderr
    assert not (tmp_path / "two" / "agent.toml").exists()
    twice = run("hub", *home, "devices", "join-file", "d", "--to", made)
    assert twice.returncode == 5
    assert "HUB-ENROL-015" in twice.stderr


def test_a_device_of_one_fleet_does_not_slip_into_another(
    hub: Services, tmp_path: Path
) -> None:
    """Another root, or another name, in a folder that has a device: refused."""
    made, folder = tmp_path / "d.join", tmp_path / "device"
    home = ("--home", hub.home.path)
    assert run("hub", *home, "devices", "join-file", "d", "--to", made).returncode == 0
    assert run("edge_agent", "join", made, "--dir", folder).returncode == 0
    before = (folder / "agent.toml").read_bytes()
    wanted = decode(made.read_bytes(), JoinFile)
    other = tmp_path / "other.join"
    for change in ({"root": '{"other": 1}'}, {"device": "e"}):
        text = {**json.loads(made.read_bytes()), **change}
        other.write_text(json.dumps(text))
        refused = run("edge_agent", "join", other, "--dir", folder)
        assert refused.returncode == 5, refused.stderr
        assert "AGENT-JOIN-003" in refused.stderr
    assert (folder / "agent.toml").read_bytes() == before
    assert wanted.hub.startswith("https://localhost:")
