"""Alerts about metadata: devices behind and ahead, and signatures that are due."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.wire import codec
from edge_agent.wire.control import Presence, Reported, TufVersions
from edge_agent.wire.topics import Address, Leaf
from hub.alerts.evidence import MetadataEvidence
from hub.alerts.service import list_incidents
from hub.config import Home
from hub.home import create_home
from hub.monitor.metadata import MetadataWatch
from hub.monitor.service import MonitorService
from hub.releases.ceremony import Ceremony, NewKeys
from hub.service import Services, open_services
from tests.hub_keys import DAY_S, PASSPHRASE, HandClock

BOOT = "00000000000000aa"
LAG_S = 3600.0


class Site:
    """A hub with a monitor, and devices that say what they trust."""

    def __init__(self, folder: Path) -> None:
        """Make a home whose offline keys are elsewhere."""
        self.clock = HandClock()
        self.usb = folder / "usb"
        home = Home(folder / "home")
        create_home(home, self.clock, NewKeys(folder=self.usb, passphrase=PASSPHRASE))
        self.services: Services = open_services(home, self.clock)
        self.reports = 0
        self.start()

    def start(self) -> None:
        """Start the monitor, as after a restart of the hub."""
        services = self.services
        watch = MetadataWatch(services.engine, services.tuf, LAG_S)
        self.monitor = MonitorService(
            services.engine,
            services.home,
            services.config,
            self.clock,
            watches=[watch.observe],
        )

    def report(self, device: str, timestamp: int, root: int = 1) -> None:
        """Have a device report the versions that it trusts."""
        self.reports += 1
        twin = Reported(
            device=device,
            boot=BOOT,
            version=self.reports,
            at=1.0,
            release=0,
            tuf=TufVersions(root=root, timestamp=timestamp),
        )
        self.be(device, online=True)
        inbox = self.services.devices.inbox
        inbox.put(Address(device, Leaf.REPORTED), codec.encode(twin))
        self.services.devices.receive()

    def be(self, device: str, *, online: bool) -> None:
        """Have a device come or go."""
        presence = Presence(device=device, boot=BOOT, online=online, at=1.0)
        inbox = self.services.devices.inbox
        inbox.put(Address(device, Leaf.PRESENCE), codec.encode(presence))
        self.services.devices.receive()

    def after(self, seconds: float) -> dict[tuple[str, str], str]:
        """Let time pass; return the open incidents by rule and cohort."""
        end = self.clock.at + seconds
        while self.clock.at < end:
            self.clock.at = min(end, self.clock.at + 600)
            self.monitor.tick()
            self.clock.at += 11
            self.monitor.tick()
        rows = list_incidents(self.services.engine, only_open=True)
        return {(row.rule, row.cohort): str(row.alert.state) for row in rows}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Return a hub whose timestamp has version 2."""
    made = Site(tmp_path)
    made.services.tuf.refresh(made.clock.now(), force=["snapshot"])
    yield made
    made.services.engine.dispose()


def test_a_device_that_stays_behind_is_told_after_a_while(site: Site) -> None:
    """Its own alert, with both versions; it resolves when the device catches up."""
    site.report("d1", 1)
    site.report("d2", 2)
    assert site.after(LAG_S / 2) == {}

    assert site.after(LAG_S) == {("metadata_lag", "d1"): "firing"}
    (row,) = list_incidents(site.services.engine, only_open=True)
    assert isinstance(row.evidence, MetadataEvidence)
    assert (row.evidence.trusts.timestamp, row.evidence.signed.timestamp) == (1, 2)

    site.report("d1", 2)
    assert site.after(1300) == {}


def test_a_device_that_follows_is_never_behind_for_long(site: Site) -> None:
    """Each version that it takes starts the time anew."""
    for version in range(2, 8):
        site.report("d1", version - 1)
        site.services.tuf.refresh(site.clock.now(), force=["snapshot"])
        assert site.after(LAG_S * 0.9) == {}


def test_absence_is_not_recovery(site: Site) -> None:
    """A device that goes, and a hub that restarts, make the alert unknown."""
    site.report("d1", 1)
    assert site.after(LAG_S * 1.5) == {("metadata_lag", "d1"): "firing"}
    site.be("d1", online=False)
    assert site.after(60) == {("metadata_lag", "d1"): "unknown"}
    site.be("d1", online=True)
    site.start()

    assert site.after(60) == {("metadata_lag", "d1"): "unknown"}
    assert site.after(LAG_S * 1.5) == {("metadata_lag", "d1"): "firing"}


def test_a_device_that_trusts_what_the_hub_never_signed_is_told_at_once(
    site: Site,
) -> None:
    """The sign of a stolen online key, or of a hub from a backup; rotation ends it."""
    site.report("d1", 2**31)
    site.report("d2", 2, root=2)

    found = site.after(60)

    assert found == {
        ("metadata_ahead", "d1"): "firing",
        ("metadata_ahead", "d2"): "firing",
    }
    ceremony = Ceremony(
        site.services.home,
        site.clock,
        offline=[site.usb],
        passphrases=lambda _: [PASSPHRASE],
    )
    ceremony.rotate("online", NewKeys())
    site.report("d1", 3, root=2)
    site.report("d2", 3, root=2)
    assert site.after(1300) == {}


def test_a_signature_that_only_a_person_can_make_is_told_in_time(site: Site) -> None:
    """Targets 60 days ahead; signing them ends it; what the hub signs never shows."""
    for _ in range(304):
        site.clock.at += DAY_S
        site.services.releases.refresh()
    assert site.after(1200) == {}
    site.clock.at += 2 * DAY_S
    site.services.releases.refresh()

    assert site.after(1200) == {("signature_due", "targets"): "firing"}

    ceremony = Ceremony(
        site.services.home,
        site.clock,
        offline=[site.usb],
        passphrases=lambda _: [PASSPHRASE],
    )
    ceremony.refresh(["targets"])
    assert site.after(1200) == {}


def test_a_hub_that_cannot_sign_says_so_and_goes_on(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """Its log has the reason once; the alert comes after two days."""
    for path in site.services.home.keys.glob("online-*.pem"):
        path.unlink()
    site.services.tuf._signer._loaded.clear()
    for _ in range(3):
        site.clock.at += DAY_S + 60
        site.services.releases.refresh()

    assert site.after(600) == {("signature_due", "timestamp"): "firing"}
    events = [record.message for record in caplog.records]
    assert events.count("tuf.not_refreshed") == 1
