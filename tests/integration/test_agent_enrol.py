"""``edge-agent enroll`` against a real hub over HTTPS, then mTLS to a real broker."""

import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import uvicorn

from edge_agent.base.clock import SystemClock
from edge_agent.config import place_tls, read_agent_config
from edge_agent.errors import UpdateError
from edge_agent.link.mqtt import MqttLink
from edge_agent.link.port import Up
from edge_agent.openssl import read_certificate
from edge_agent.store.artifacts import ArtifactStore
from edge_agent.update.download import Ways, fetch_artifact
from edge_agent.wire.manifest import FileRef
from hub.api.app import make_app
from hub.api.enrol import add_enrolment
from hub.config import Home
from hub.home import create_home
from hub.identity.broker import http_certificate, write_broker
from hub.service import Services, open_services
from hub.storage.db import transaction
from hub.storage.identity import add_certificate
from tests.fakes.agent_hub import wait_for
from tests.hub_broker import MOSQUITTO, free_port, is_listening
from tests.mtls import keep_local, new_request, run_broker

WAIT_S = 10.0


@dataclass
class Hub:
    """A hub that serves enrolment over HTTPS."""

    services: Services
    url: str
    ca: Path


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """Serve enrolment on a free loopback port."""
    home = Home(tmp_path / "home")
    create_home(home, SystemClock())
    services = open_services(home)
    app = make_app(home.artifacts, lambda: True)
    add_enrolment(app, services.identity, services.clock)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_config=None,
            lifespan="off",
            ssl_certfile=http_certificate(home, []),
            timeout_graceful_shutdown=1,
        )
    )
    thread = threading.Thread(target=lambda: server.run(sockets=[listener]))
    thread.start()
    yield Hub(services, f"https://localhost:{listener.getsockname()[1]}", home.ca_file)
    server.should_exit = True
    thread.join(WAIT_S)
    listener.close()
    services.engine.dispose()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return a device's configuration that speaks TLS."""
    folder = tmp_path / "device"
    folder.mkdir()
    path = folder / "agent.toml"
    path.write_text(
        '[device]\nid = "pump-7"\n[trust]\nroot = "root.json"\n'
        '[broker]\nhost = "localhost"\ntls = { enabled = true }\n',
        "utf-8",
    )
    return path


def enroll(
    config: Path, *words: str, token: str = "", path: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command; the token goes to its standard input."""
    environment = {**os.environ, **({} if path is None else {"PATH": path})}
    command = [sys.executable, "-m", "edge_agent", "enroll", "--config", str(config)]
    return subprocess.run(
        [*command, *words],
        input=token,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


def test_a_device_enrols_renews_and_connects(
    hub: Hub, config: Path, tmp_path: Path
) -> None:
    """Key and certificate are written, work with the broker, and can be renewed."""
    words = ("--hub", hub.url, "--ca", str(hub.ca), "--token-file", "-")
    token = hub.services.identity.issue_token("pump-7", 60).token
    first = enroll(config, *words, token=token + "\n")
    assert (first.returncode, first.stderr) == (0, "")
    state = config.parent / "state"
    pair = (state / "device.pem").read_bytes()
    assert (state / "device.pem").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in state.iterdir()) == [
        "ca.pem",
        "device.hub",
        "device.pem",
    ]

    again = enroll(config, *words, token=token)
    assert again.returncode == 1
    assert "HUB-ENROL-003" in again.stderr
    assert (state / "device.pem").read_bytes() == pair

    renewed = enroll(config, "--hub", hub.url, "--renew")
    assert (renewed.returncode, renewed.stderr) == (0, "")
    assert (state / "device.pem").read_bytes() != pair
    connect(hub, config, tmp_path / "broker")


def connect(hub: Hub, config: Path, folder: Path) -> None:
    """Let the agent's own link connect to mosquitto."""
    assert MOSQUITTO is not None
    port = free_port()
    write_broker(folder, hub.services.identity, [], port)
    keep_local(folder, port)
    process = subprocess.Popen(
        [MOSQUITTO, "-c", str(folder / "mosquitto.conf")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not is_listening(port):
        assert process.poll() is None
    text = config.read_text("utf-8")
    config.write_text(text.replace("tls =", f"port = {port}\ntls ="), "utf-8")
    settings = read_agent_config(config)
    link = MqttLink(
        "pump-7",
        place_tls(settings, config.parent),
        subscriptions=["shoal/v1/pump-7/desired"],
        will=("shoal/v1/pump-7/presence", b"{}"),
    )
    thread = threading.Thread(target=link.run)
    thread.start()
    assert isinstance(link.poll(WAIT_S), Up)
    link.stop()
    thread.join(WAIT_S)
    process.terminate()
    process.wait(WAIT_S)


def test_what_cannot_be_done_is_said_with_a_cure(hub: Hub, config: Path) -> None:
    """Plaintext, a missing openssl, an unknown CA and a lack of words are named."""
    token = ("--token-file", "-")
    plain = enroll(config, "--hub", "http://192.0.2.1:8770", *token, token="x")  # noqa: S106
    bare = enroll(config, "--hub", hub.url, *token, token="x", path="/nowhere")  # noqa: S106
    unknown = enroll(config, "--hub", hub.url, *token, token="x")  # noqa: S106
    both = enroll(config, "--hub", hub.url, *token, "--renew", token="x")  # noqa: S106
    none = enroll(config, "--hub", hub.url, "--renew")

    assert "AGENT-ENROL-002" in plain.stderr
    assert "apt-get install openssl" in bare.stderr
    assert "AGENT-ENROL-006" in unknown.stderr
    assert both.returncode == 2
    assert "AGENT-ENROL-005" in none.stderr


def test_a_token_for_another_device_buys_nothing(hub: Hub, config: Path) -> None:
    """The hub's code reaches the person, and no file is left behind."""
    token = hub.services.identity.issue_token("pump-8", 60).token
    words = ("--hub", hub.url, "--ca", str(hub.ca), "--token-file", "-")
    refused = enroll(config, *words, token=token)

    assert refused.returncode == 1
    assert "HUB-ENROL-002" in refused.stderr
    assert token not in refused.stderr
    assert list((config.parent / "state").iterdir()) == []


def test_artifacts_come_over_the_hubs_own_https(hub: Hub, tmp_path: Path) -> None:
    """A download trusts the authority that the device enrolled with, and no other."""
    content = b"model" * 100
    digest = hashlib.sha256(content).hexdigest()
    (hub.services.home.artifacts / digest).write_bytes(content)
    file = FileRef(name="m.tflite", bytes=len(content), sha256=digest)
    store = ArtifactStore(tmp_path)

    with pytest.raises(UpdateError, match="cannot be fetched"):
        fetch_artifact(hub.url, file, store, Ways(interrupted=lambda: False))
    fetch_artifact(hub.url, file, store, Ways(interrupted=lambda: False, ca=hub.ca))

    assert store.path(digest).read_bytes() == content


def put_old_certificate(hub: Hub, state: Path) -> None:
    """Write a certificate that the hub knows, 80 of its 90 days old."""
    key, csr = new_request()
    long_ago = datetime.now(UTC) - timedelta(days=80)
    issued = hub.services.identity.authority().sign_device(
        csr.encode(), "pump-7", long_ago
    )
    with transaction(hub.services.engine) as connection:
        add_certificate(
            connection,
            issued.serial,
            "pump-7",
            issued_at=long_ago.timestamp(),
            expires_at=issued.expires_at,
        )
    state.mkdir()
    (state / "device.pem").write_text(key + issued.pem.decode(), "utf-8")
    (state / "device.hub").write_text(hub.url, "utf-8")
    (state / "ca.pem").write_bytes(hub.ca.read_bytes())


def test_a_running_agent_renews_its_certificate_in_time(
    hub: Hub, config: Path, tmp_path: Path
) -> None:
    """Two thirds through its life it asks the hub, and connects with the new pair."""
    identity = hub.services.identity
    state = config.parent / "state"
    (config.parent / "root.json").write_bytes(hub.services.home.root_file.read_bytes())
    put_old_certificate(hub, state)
    port = free_port()
    write_broker(tmp_path / "broker", identity, [], port)
    keep_local(tmp_path / "broker", port)
    text = config.read_text("utf-8").replace("tls =", f"port = {port}\ntls =")
    config.write_text(text, "utf-8")
    log = tmp_path / "agent.log"
    with run_broker(tmp_path / "broker", port), log.open("wb") as output:
        agent = subprocess.Popen(
            [sys.executable, "-m", "edge_agent", "run", "--config", str(config)],
            stderr=output,
        )
        try:
            wait_for(lambda: "certificate.renewed" in log.read_text(), "the renewal")
            renewed = read_certificate(state / "device.pem")
            wait_for(
                lambda: (
                    '"link.up"' in log.read_text().rpartition("certificate.renewed")[2]
                ),
                "the connection with the new pair",
            )
            done = subprocess.run(
                [sys.executable, "-m", "edge_agent", "doctor", "--config", str(config)],
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            agent.terminate()
            assert agent.wait(20) == 0

    assert renewed.ends_at - time.time() > 89 * 86_400
    assert "ok    certificate: of pump-7, 90 days left" in done.stdout


def test_doctor_says_what_is_wrong_with_a_certificate(
    hub: Hub, config: Path, tmp_path: Path
) -> None:
    """None, one of another device, and an expired one are told apart, with a cure."""

    def finding() -> str:
        done = subprocess.run(
            [sys.executable, "-m", "edge_agent", "doctor", "--config", str(config)],
            capture_output=True,
            text=True,
            check=False,
        )
        (line,) = [x for x in done.stdout.splitlines() if "certificate" in x]
        return line

    state = config.parent / "state"
    state.mkdir()
    (state / "ca.pem").write_bytes(hub.ca.read_bytes())
    assert "enroll-token" in finding()

    def put(name: str, when: datetime) -> None:
        key, csr = new_request()
        made = hub.services.identity.authority().sign_device(csr.encode(), name, when)
        (state / "device.pem").write_text(key + made.pem.decode(), "utf-8")

    put("pump-8", datetime.now(UTC))
    assert "set device.id = 'pump-8'" in finding()
    put("pump-7", datetime.now(UTC) - timedelta(days=91))
    assert "an expired certificate cannot renew itself" in finding()
    put("pump-7", datetime.now(UTC) - timedelta(days=1))
    assert finding().startswith("ok")
