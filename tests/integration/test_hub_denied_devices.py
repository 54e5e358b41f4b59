"""Revoked or expired: what such a device says is not believed; the broker is told."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edge_agent.base.clock import SystemClock
from edge_agent.wire import codec, topics
from edge_agent.wire.batch import BatchHeader, encode_batch, encode_record
from edge_agent.wire.block import BlockRequest
from edge_agent.wire.control import Presence, Reported
from edge_agent.wire.enrol import EnrolRequest
from edge_agent.wire.records import HealthRecord
from edge_agent.wire.topics import Address, Lane, Leaf
from hub.blocks import BlockServer
from hub.cli import cli
from hub.config import Home
from hub.home import create_home
from hub.identity.access import Access
from hub.identity.enforcement import Enforcement
from hub.ingest.writer import IngestWriter
from hub.service import Services, open_services
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

BOOT = "00000000000000aa"
DAY_S = 86_400.0


class ShiftedClock(SystemClock):
    """The machine's clock, some time ahead."""

    ahead_s = 0.0

    def wall(self) -> float:
        """Return what the machine says, and the shift."""
        return super().wall() + self.ahead_s


@pytest.fixture
def clock() -> ShiftedClock:
    """Return the clock of the hub."""
    return ShiftedClock()


@pytest.fixture
def services(tmp_path: Path, clock: ShiftedClock) -> Iterator[Services]:
    """Return a hub whose broker asks for certificates, and is not there."""
    home = Home(tmp_path / "home")
    create_home(home, SystemClock())
    home.config_file.write_text("[broker]\ntls.enabled = true\n", "utf-8")
    made = open_services(home, clock)
    yield made
    made.engine.dispose()


def enrol(services: Services, *devices: str) -> None:
    """Give devices a certificate each."""
    for device in devices:
        token = services.identity.issue_token(device, 60).token
        request = EnrolRequest(device=device, token=token, csr=new_request()[1])
        services.identity.enrol(request)


def say(services: Services, device: str, release: int) -> tuple[bool, int]:
    """Let a device say that it is there; return what the hub believes then."""
    presence = Presence(device=device, boot=BOOT, online=True, at=1.0)
    twin = Reported(device=device, boot=BOOT, version=release, at=1.0, release=release)
    for leaf, message in ((Leaf.PRESENCE, presence), (Leaf.REPORTED, twin)):
        services.devices.inbox.put(Address(device, leaf), codec.encode(message))
    services.devices.receive()
    row, _ = services.devices.get(device)
    return row.online, row.release


def ask_blocks(services: Services, device: str) -> list[str]:
    """Let a device ask for an artifact; return the topics of what it gets."""
    (services.home.artifacts / ("0" * 64)).write_bytes(b"model")
    sent: list[str] = []

    def send(topic: str, _payload: bytes) -> bool:
        sent.append(topic)
        return True

    access = services.identity.access
    server = BlockServer(
        services.home.artifacts, send, services.clock, access.is_denied
    )
    request = BlockRequest(sha256="0" * 64, offset=0, count=1)
    server.offer(device, codec.encode(request))
    assert server.step(1.0)
    return sent


def take_batch(services: Services, device: str) -> int:
    """Let a device send a batch; return how many were acknowledged."""
    acks: list[str] = []
    writer = IngestWriter(
        services.engine,
        services.clock,
        lambda topic, _: acks.append(topic),
        services.config.ingest,
    )
    writer.find_denied = services.identity.access.denied
    header = BatchHeader(
        boot=BOOT, lane=Lane.METRIC, base=0, lo=1, hi=1, wall_at=5.0, mono_s=1.0
    )
    record = encode_record(HealthRecord(at=5.0, uptime_s=1.0, release=3))
    payload = encode_batch(header, [(1, record)])
    writer.offer(topics.up(device, Lane.METRIC), payload, lambda: None)
    while writer.step(0.0):
        continue
    return len(acks)


def test_what_a_revoked_device_says_is_not_believed(services: Services) -> None:
    """Presence, twin and requests for blocks count no more, retained ones included."""
    enrol(services, "d1", "d2")
    before = say(services, "d1", 1), say(services, "d2", 1)
    served = ask_blocks(services, "d1")
    services.identity.revoke("d1")

    assert before == ((True, 1), (True, 1))
    assert served == [topics.leaf("d1", Leaf.BLOCK_DATA)]
    # What the broker has retained comes again with each connection of the hub.
    assert say(services, "d1", 2) == (False, 1)
    assert ask_blocks(services, "d1") == []
    assert say(services, "d2", 2) == (True, 2)
    assert ask_blocks(services, "d2") != []
    enrol(services, "d1")
    assert say(services, "d1", 3) == (True, 3)


def test_a_device_whose_certificate_has_expired_is_not_believed(
    services: Services, clock: ShiftedClock
) -> None:
    """Nothing counts that comes by its open session; who renewed in time is heard."""
    enrol(services, "d1", "d2")
    say(services, "d1", 1)
    enforcement = Enforcement(
        services.engine, services.home, services.identity, services.clock
    )
    clock.ahead_s = 45 * DAY_S
    enrol(services, "d2")
    clock.ahead_s = 91 * DAY_S
    enforcement.tick()

    assert say(services, "d1", 2) == (False, 1)
    assert ask_blocks(services, "d1") == []
    assert take_batch(services, "d1") == 0
    assert say(services, "d2", 2) == (True, 2)
    assert ask_blocks(services, "d2") != []
    assert take_batch(services, "d2") == 1


def test_a_clock_that_is_not_right_denies_nobody(
    services: Services, clock: ShiftedClock
) -> None:
    """Nothing expires on the word of a wrong clock; what was revoked stays so."""
    enrol(services, "d1", "d2")
    services.identity.revoke("d2")
    clock.ahead_s = 5000 * DAY_S
    right = True
    access = Access(services.engine, clock, is_clock_right=lambda: right)
    with services.engine.connect() as conn:
        trusted = access.denied(conn)
        right = False
        untrusted = access.denied(conn)

    assert trusted == {"d1", "d2"}
    assert untrusted == {"d2"}
    assert not access.is_denied("d1")
    assert access.is_denied("d2")


def test_without_certificates_on_the_broker_none_expires(
    services: Services, clock: ShiftedClock
) -> None:
    """A device on a plaintext broker shows none, so none of it can run out."""
    enrol(services, "d1")
    clock.ahead_s = 91 * DAY_S
    services.home.config_file.write_text("", "utf-8")
    plain = open_services(services.home, clock)

    assert say(plain, "d1", 1) == (True, 1)
    plain.engine.dispose()


@pytest.fixture
def rig(services: Services, tmp_path: Path) -> Rig:
    """Return the hub with a broker whose folder `hub broker config` has written."""
    port, folder = free_port(), tmp_path / "broker"
    done = run(services, "broker", "config", "--to", str(folder), "--port", str(port))
    assert done.exit_code == 0, done.output
    keep_local(folder, port)
    return Rig(services, folder, port, tmp_path)


def run(services: Services, *words: str) -> Result:
    """Run a command of the hub."""
    home = str(services.home.path)
    return CliRunner().invoke(cli, ["--home", home, *words])


def falls_silent(rig: Rig, hub: Client, device: Client, name: str) -> bool:
    """Tell whether what a session says reaches nobody any more, in time."""
    own, others = topics.up(name, Lane.ALERT), topics.up("probe", Lane.ALERT)
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        device.publish(own, b"x")
        hub.publish(others, b"x")
        if hub.until(others) == [others]:
            return True
    return False


def test_revoking_a_device_reloads_the_broker(rig: Rig) -> None:
    """One command, and the open session says nothing more; another one goes on."""
    with run_broker(rig.folder, rig.port):
        hub = Client(rig, hub_files(rig))
        device = Client(rig, rig.enrol("d1"), "d1")
        other = Client(rig, rig.enrol("d2"), "d2")
        assert all(client.accepted() for client in (hub, device, other))
        hub.subscribe("shoal/v1/+/up/#")
        device.publish(topics.up("d1", Lane.STATE), b"x")
        hub.until(topics.up("d1", Lane.STATE))

        done = run(rig.services, "devices", "revoke", "d1", "--json")

        told = json.loads(done.stdout)
        assert told == {"device": "d1", "revoked": 1, "broker": "reloaded"}
        assert falls_silent(rig, hub, device, "d1")
        other.publish(topics.up("d2", Lane.STATE), b"x")
        assert hub.until(topics.up("d2", Lane.STATE))
        for client in (hub, device, other):
            client.close()


def test_a_session_ends_with_its_certificate(rig: Rig, clock: ShiftedClock) -> None:
    """The broker that let it in lets it say no more; who renewed goes on as it is."""
    services = rig.services
    enforcement = Enforcement(
        services.engine, services.home, services.identity, ShiftedMono(clock)
    )
    with run_broker(rig.folder, rig.port):
        hub = Client(rig, hub_files(rig))
        device = Client(rig, rig.enrol("d1"), "d1")
        renewed = Client(rig, rig.enrol("d2"), "d2")
        assert all(client.accepted() for client in (hub, device, renewed))
        hub.subscribe("shoal/v1/+/up/#")
        enforcement.tick()
        clock.ahead_s = 45 * DAY_S
        enrol(services, "d2")
        clock.ahead_s = 91 * DAY_S
        enforcement.tick()

        assert falls_silent(rig, hub, device, "d1")
        renewed.publish(topics.up("d2", Lane.STATE), b"x")
        assert hub.until(topics.up("d2", Lane.STATE))
        for client in (hub, device, renewed):
            client.close()


class ShiftedMono(SystemClock):
    """A steady clock that goes on with the shift of another one."""

    def __init__(self, clock: ShiftedClock) -> None:
        """Follow a clock."""
        self._clock = clock

    def mono(self) -> float:
        """Return the machine's, and the shift."""
        return super().mono() + self._clock.ahead_s


def spoil(folder: Path) -> None:
    """Put something in the place of a folder that is none."""
    folder.rename(folder.with_name("elsewhere"))
    folder.write_text("", "utf-8")


@pytest.mark.parametrize(
    ("prepare", "broker", "words"),
    [
        (lambda _: None, "written", "systemctl reload mosquitto"),
        (spoil, "failed", "hub broker revocations --to"),
    ],
)
def test_a_broker_that_cannot_be_told_is_named_with_its_cure(
    rig: Rig, prepare: Callable[[Path], None], broker: str, words: str
) -> None:
    """The hub denies the device all the same, and says what is left to run."""
    enrol(rig.services, "d1", "d2")
    prepare(rig.folder)

    told = run(rig.services, "devices", "revoke", "d1", "--json")
    said = run(rig.services, "devices", "revoke", "d2")

    assert json.loads(told.stdout)["broker"] == broker
    assert words in said.stderr
    assert rig.services.identity.access.is_denied("d1")


def test_a_broker_that_nobody_named_is_not_forgotten(services: Services) -> None:
    """Without a folder that the hub knows, the command says how it learns of one."""
    enrol(services, "d1")
    done = run(services, "devices", "revoke", "d1")

    assert "hub broker revocations --to DIR" in done.stderr
