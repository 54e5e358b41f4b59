"""A hub that was restored from an older copy of its home, and what devices report."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from edge_agent.wire import codec
from edge_agent.wire.control import Assignment, Presence, Reported, TufVersions
from edge_agent.wire.envelope import Envelope
from edge_agent.wire.topics import Address, Leaf
from hub.config import Home
from hub.devices.service import DeviceService
from hub.home import create_home
from hub.releases.ceremony import Ceremony, NewKeys
from hub.rollout.facts import runs
from hub.service import Services, open_services
from hub.storage import devices as device_store
from hub.storage import releases as release_store
from hub.storage.db import transaction
from hub.storage.identity import add_certificate
from tests.hub_bundle import make_bundle
from tests.hub_keys import PASSPHRASE, HandClock, KeyRig

BOOT = "00000000000000aa"


def report(services: DeviceService, twin: Reported) -> None:
    """Have a device come and report."""
    inbox = services.inbox
    presence = Presence(device=twin.device, boot=BOOT, online=True, at=1.0)
    inbox.put(Address(twin.device, Leaf.PRESENCE), codec.encode(presence))
    inbox.put(Address(twin.device, Leaf.REPORTED), codec.encode(twin))
    services.receive()


def twin(**fields: object) -> Reported:
    """Return what a device of the other history reports."""
    base = Reported(device="d1", boot=BOOT, version=1, at=1.0, release=0)
    return Reported(**{n: getattr(base, n) for n in base.__struct_fields__} | fields)


@pytest.fixture
def restored(tmp_path: Path) -> Services:
    """Return a hub with release 1, whose devices have seen releases beyond it."""
    home, clock = Home(tmp_path / "home"), HandClock()
    create_home(home, clock, NewKeys(folder=tmp_path / "usb", passphrase=PASSPHRASE))
    services = open_services(home, clock)
    first = services.releases.take_in(make_bundle(tmp_path / "one", seed=1))
    services.releases.publish(first)
    return services


def test_numbers_start_above_what_devices_report(
    tmp_path: Path, restored: Services
) -> None:
    """Releases and assignments: no number of the lost history is given again."""
    report(
        restored.devices,
        twin(release=2, sha256="f" * 64, assignment_seq=7),
    )

    number = restored.releases.take_in(make_bundle(tmp_path / "two", seed=2))
    restored.releases.publish(number)
    seq = restored.devices.assign("d1", number, "r1")

    assert (number, seq) == (3, 8)
    row = restored.devices.get("d1")[1]
    assert row is not None
    envelope = codec.decode(row.envelope.encode(), Envelope)
    assert codec.decode(envelope.payload.encode(), Assignment).seq == 8


def test_no_device_uses_the_numbers_up(tmp_path: Path, restored: Services) -> None:
    """What is far beyond any honest history does not count."""
    huge = TufVersions(root=2**53, timestamp=2**53, snapshot=2**53, targets=2**53)
    report(
        restored.devices,
        twin(release=2**31, sha256="f" * 64, assignment_seq=2**53, tuf=huge),
    )

    number = restored.releases.take_in(make_bundle(tmp_path / "two", seed=2))
    restored.releases.publish(number)

    assert (number, restored.devices.assign("d1", number, "r1")) == (2, 1)
    assert restored.tuf.version() == 3


def test_a_release_of_another_history_is_not_the_one_of_its_number(
    restored: Services,
) -> None:
    """A device that answers with another model under the same number is not on it."""
    with restored.engine.connect() as conn:
        release = release_store.require_release(conn, 1)
    report(restored.devices, twin(release=1, sha256="f" * 64))
    with restored.engine.connect() as conn:
        other = device_store.get_device(conn, "d1")
    assert other is not None
    assert runs(other, release) == 0

    report(restored.devices, twin(version=2, release=1, sha256=release.model_sha256))
    with restored.engine.connect() as conn:
        same = device_store.get_device(conn, "d1")
    assert same is not None
    assert runs(same, release) == 1


def test_the_first_rotation_after_a_restore_heals_devices(tmp_path: Path) -> None:
    """A device that follows roots and versions which the hub lost takes the new."""
    rig = KeyRig(tmp_path)
    device = rig.device()
    shutil.copytree(rig.home.path, tmp_path / "copy")
    rig.ceremony().rotate("online", rig.new)
    for _ in range(9):
        rig.alone().refresh([])
    device.refresh(rig.alone().tuf.bundle(), rig.clock.at)
    lost = device.versions
    assert (lost.root, lost.timestamp) == (2, 11)
    fresh = rig.device("fresh")
    shutil.rmtree(rig.home.path)
    shutil.copytree(tmp_path / "copy", rig.home.path)

    ceremony = Ceremony(
        rig.home,
        rig.clock,
        offline=[rig.offline],
        passphrases=lambda _: [PASSPHRASE],
    )
    ceremony.tuf.seen = lambda: lost
    ceremony.rotate("online", rig.new)

    for one in (device, fresh):
        one.refresh(rig.alone().tuf.bundle(), rig.clock.at)
        assert one.versions.root == 3
        assert one.versions.timestamp == 12


@pytest.mark.parametrize("enrolled", ["before the copy", "after the copy"])
def test_a_restored_database_does_not_undo_a_revocation(
    tmp_path: Path, enrolled: str
) -> None:
    """The journal beside it names the certificate, also one the copy never knew."""
    home, clock = Home(tmp_path / "home"), HandClock()
    create_home(home, clock, NewKeys(folder=tmp_path / "usb", passphrase=PASSPHRASE))
    services = open_services(home, clock)

    def enrol() -> None:
        with transaction(services.engine) as conn:
            add_certificate(conn, "abc", "d1", issued_at=1.0, expires_at=clock.at + 1e6)

    def copy() -> None:
        with sqlite3.connect(home.path / "hub.db") as old:
            old.execute("VACUUM INTO ?", (str(tmp_path / "copy.db"),))

    steps = [enrol, copy] if enrolled == "before the copy" else [copy, enrol]
    for step in steps:
        step()
    services.identity.revoke("d1")
    services.engine.dispose()
    for path in home.path.glob("hub.db*"):
        path.unlink()
    shutil.copyfile(tmp_path / "copy.db", home.path / "hub.db")

    again = open_services(home, clock)

    assert again.identity.revoked_devices() == {"d1"}
    assert b"X509 CRL" in again.identity.revocations()
    again.engine.dispose()
