"""Join files: what the hub writes into them, and what a device makes of them."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from edge_agent.base.clock import SystemClock
from edge_agent.config import read_agent_config
from edge_agent.errors import AgentError
from edge_agent.join import join
from edge_agent.wire.codec import encode
from hub.config import Home
from hub.errors import RefusedError
from hub.home import create_home
from hub.identity.join import Reach, make_join_file
from hub.service import open_services


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Return a fresh hub's home, which speaks plaintext on loopback."""
    made = Home(tmp_path / "home")
    create_home(made, SystemClock())
    return made


def _write(home: Home, text: str, reach: Reach, to: Path) -> Path:
    home.config_file.write_text(text, "utf-8")
    services = open_services(home)
    made = make_join_file(services.identity, home, "d1", 60.0, reach)
    services.engine.dispose()
    to.write_bytes(encode(made))
    return to


def test_a_fleet_on_loopback_needs_no_certificate(home: Home, tmp_path: Path) -> None:
    """Without TLS there is no token in the file and nothing to enrol for."""
    file = _write(home, "[broker]\nport = 1999\n", Reach(), tmp_path / "f")
    assert json.loads(file.read_bytes())["token"] == ""
    done = join(file, tmp_path / "device")
    config = read_agent_config(tmp_path / "device" / "agent.toml")
    assert (config.device.id, config.broker.port) == ("d1", 1999)
    assert not config.broker.tls.enabled
    root = (tmp_path / "device" / "root.json").read_bytes()
    assert root == home.root_file.read_bytes()
    assert done.factory == ""


@pytest.mark.parametrize("device", ["pump 9", "hub", "shoal-hub-2", "Pümpe", "a\nb"])
def test_what_no_device_can_be_called_gets_no_file(home: Home, device: str) -> None:
    """On a plaintext hub too, where no token checks it."""
    services = open_services(home)
    with pytest.raises(RefusedError, match="HUB-ENROL-001"):
        make_join_file(services.identity, home, device, 60.0, Reach())
    services.engine.dispose()


def test_what_the_device_had_stays(home: Home, tmp_path: Path) -> None:
    """Sources, sinks, factory model; the old file is kept, with its comments."""
    folder = tmp_path / "device"
    folder.mkdir()
    old = (
        "# my pump\n"
        '[device]\nid = "alone"\nlabels = { site = "lab" }\n[trust]\nroot = ""\n'
        '[factory]\nbundle = "factory"\n[[sources]]\nkind = "csv"\npath = "a.csv"\n'
    )
    (folder / "agent.toml").write_text(old)
    file = _write(home, "", Reach(), tmp_path / "f")
    assert join(file, folder).factory == "factory"
    table = tomllib.loads((folder / "agent.toml").read_text())
    assert table["device"] == {"id": "d1", "labels": {"site": "lab"}}
    assert table["factory"] == {"bundle": "factory"}
    assert table["sources"] == [{"kind": "csv", "path": "a.csv"}]
    assert (folder / "agent.toml.before").read_text() == old


@pytest.mark.parametrize(
    ("text", "reach", "what"),
    [
        ('[broker]\nhost = "hub.example.org"\ntls.enabled = true\n', Reach(), "reach"),
        ("[broker]\ntls.enabled = true\n", Reach(host="hub.example.org"), "reach"),
        (
            "broker.tls.enabled = true\napi.public_url = 'http://hub.example.org:8770'",
            Reach(),
            "plaintext",
        ),
    ],
)
def test_a_file_that_could_not_work_is_not_written(
    home: Home, tmp_path: Path, text: str, reach: Reach, what: str
) -> None:
    """A hub that only itself can reach, or a token in plaintext: said at once."""
    with pytest.raises(RefusedError, match=what) as caught:
        _write(home, text, reach, tmp_path / "f")
    assert caught.value.code == "HUB-ENROL-014"


def test_the_brokers_name_is_the_public_one(home: Home, tmp_path: Path) -> None:
    """Where the broker is beside the hub, devices call it as they call the hub."""
    text = (
        "[broker]\nport = 8883\ntls.enabled = true\n"
        '[api]\ntls = true\npublic_url = "https://hub.example.org:8770"\n'
    )
    made = json.loads(_write(home, text, Reach(), tmp_path / "f").read_bytes())
    assert (made["broker_host"], made["broker_port"]) == ("hub.example.org", 8883)
    assert made["hub"] == "https://hub.example.org:8770"
    assert made["token"]
    reach = Reach(host="10.1.2.3", port=8884)
    made = json.loads(_write(home, text, reach, tmp_path / "g").read_bytes())
    assert (made["broker_host"], made["broker_port"]) == ("10.1.2.3", 8884)


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff\xfe", b'{"format": 2}'])
def test_what_is_no_join_file_is_said(tmp_path: Path, data: bytes) -> None:
    """And nothing is written."""
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(AgentError) as caught:
        join(tmp_path / "f", tmp_path / "device")
    assert caught.value.code == "AGENT-JOIN-001"
    assert not (tmp_path / "device").exists()


def test_the_command_says_what_to_do_next(home: Home, tmp_path: Path) -> None:
    """One line says what the device is, one how to start it; JSON for scripts."""
    file = _write(home, "", Reach(), tmp_path / "f")
    command = [sys.executable, "-m", "edge_agent", "join", str(file)]
    folder = tmp_path / "device"
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=environment, check=True
    )
    assert "d1 has joined the fleet at 127.0.0.1:1883" in done.stdout
    assert "edge-agent run --config agent.toml" in done.stdout


@pytest.mark.parametrize("device", ["pump 9", "hub", "Pümpe", "a/b", "d1\n", "", "+"])
def test_a_name_that_no_device_can_have_is_refused_without_tls_too(
    home: Home, tmp_path: Path, device: str
) -> None:
    """Whether or not the broker asks for a token, which would be refused anyway."""
    services = open_services(home)
    with pytest.raises(RefusedError, match="HUB-ENROL-001"):
        make_join_file(services.identity, home, device, 60.0, Reach())
    services.engine.dispose()
    assert not (tmp_path / "f").exists()
