"""The clock matrix: the real metadata client, journal and runner under wrong clocks."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from edge_agent.base.clock import EARLIEST_WALL
from edge_agent.store.slots import Slots
from edge_agent.wire.control import Assignment, TufBundle
from edge_agent.wire.envelope import Envelope
from edge_agent.wire.records import EventRecord
from tests.fakes.tuf_repository import TufRepository
from tests.fakes.updating_device import NOWHERE, DeviceClock, UpdatingDevice

DAY_S = 86_400.0
NOW = datetime.now(UTC).timestamp()
TARGET = "models/watch/1/release.json"
CLOCKS = {
    "1970": 0.0,
    "a day before the build": EARLIEST_WALL - DAY_S,
    "right": NOW,
    "400 days ahead": NOW + 401 * DAY_S,
    "2038": 2.0**31,
}
WRONG = [name for name in CLOCKS if name != "right"]


class Hub:
    """A repository that signs at a time and lets metadata expire a week later."""

    def __init__(self, at: float = NOW, *, says_time: bool = True) -> None:
        """Sign the first set; ``says_time``: timestamps say when."""
        self.repository = TufRepository(datetime.fromtimestamp(at, UTC))
        self.repository.root.expires = datetime.fromtimestamp(at, UTC)
        self.repository.root.expires += timedelta(days=730)
        self.repository.root_versions.clear()
        self.repository._sign_root()
        self.repository.add({TARGET: b"manifest"})
        self.says_time = says_time
        self.root = self.repository.root_versions[0]

    def metadata(self, at: float = NOW) -> TufBundle:
        """Sign everything at a time."""
        self.repository.expires = datetime.fromtimestamp(at, UTC) + timedelta(days=7)
        self.repository.signed_at = int(at) if self.says_time else None
        return self.repository.bundle()

    def assign(self, at: float = NOW, seq: int = 1, release: int = 1) -> Envelope:
        """Sign an assignment at a time."""
        return self.repository.assign(
            Assignment(
                device="d1",
                seq=seq,
                release=release,
                target=TARGET,
                rollout="r1",
                issued_at=at,
                artifacts_url=NOWHERE,
            )
        )


@pytest.fixture
def hub() -> Hub:
    """Return a hub whose timestamps say when they were signed."""
    return Hub()


def device_at(folder: Path, hub: Hub, clock: str) -> UpdatingDevice:
    """Return a device whose clock says this, and whom no time service helps."""
    return UpdatingDevice(folder / "device", hub.root, DeviceClock(CLOCKS[clock]))


@pytest.mark.parametrize("clock", CLOCKS)
def test_fresh_metadata_is_taken_whatever_the_clock_says(
    tmp_path: Path, hub: Hub, clock: str
) -> None:
    """Also by a device that never heard of the hub before."""
    device = device_at(tmp_path, hub, clock)

    device.runner.on_metadata(hub.metadata())
    device.runner.on_desired(hub.assign())

    assert device.settle() == "DOWNLOAD"
    assert device.trust.versions.timestamp == 1
    assert abs(device.runner.trusted_now() - NOW) < 60


@pytest.mark.parametrize("clock", CLOCKS)
def test_metadata_that_is_too_old_is_never_taken(
    tmp_path: Path, hub: Hub, clock: str
) -> None:
    """Once the hub's time is known, a broker cannot freeze a device in the past."""
    device = device_at(tmp_path, hub, clock)
    frozen = hub.metadata(NOW - 30 * DAY_S)
    device.runner.on_desired(hub.assign(NOW))

    device.runner.on_metadata(frozen)

    assert device.settle(1000.0) == "IDLE"
    (report,) = device.reports()
    assert (report.outcome, device.trust.versions.timestamp) == ("failed", 0)


@pytest.mark.parametrize("clock", CLOCKS)
def test_the_order_of_metadata_and_assignment_does_not_matter(
    tmp_path: Path, clock: str
) -> None:
    """Timestamps that do not say their time: the assignment tells it afterwards."""
    hub = Hub(says_time=False)
    device = device_at(tmp_path, hub, clock)

    device.runner.on_metadata(hub.metadata())
    device.runner.on_desired(hub.assign())

    assert device.settle() == "DOWNLOAD"


def is_believed(device: UpdatingDevice) -> bool:
    """Tell what the device last said of its clock."""
    return device.told[-1][1]


@pytest.mark.parametrize("clock", WRONG)
def test_a_clock_that_cannot_be_right_is_told_until_it_is_right(
    tmp_path: Path, hub: Hub, clock: str
) -> None:
    """One event, the twin's flag, and the flag goes when the clock is set."""
    device = device_at(tmp_path, hub, clock)
    device.runner.on_metadata(hub.metadata())
    device.settle(5)
    (event,) = device.alerts()
    assert isinstance(event, EventRecord)
    assert event.code == "AGENT-CLOCK-001"
    assert is_believed(device) is False

    device.clock.at = NOW + 10
    device.settle(5)

    assert is_believed(device) is True
    assert len(device.alerts()) == 1


def test_a_right_clock_is_believed_and_nothing_is_told(
    tmp_path: Path, hub: Hub
) -> None:
    """A hub whose clock is two minutes ahead makes no device's clock wrong."""
    device = device_at(tmp_path, hub, "right")

    device.runner.on_metadata(hub.metadata(NOW + 120))
    device.settle(5)

    assert device.alerts() == []
    assert device.runner.trusted_now() >= int(NOW + 120)


def test_a_clock_that_a_time_service_keeps_is_believed_in_2038(
    tmp_path: Path, hub: Hub
) -> None:
    """Then everything has really expired."""
    clock = DeviceClock(CLOCKS["2038"])
    device = UpdatingDevice(tmp_path / "device", hub.root, clock, is_kept=True)

    device.runner.on_metadata(hub.metadata())

    assert device.trust.versions.timestamp == 0
    assert device.runner.clock_is_trusted


@pytest.mark.parametrize("clock", CLOCKS)
def test_the_signed_time_survives_a_restart(
    tmp_path: Path, hub: Hub, clock: str
) -> None:
    """A device without a clock of its own goes on from there."""
    device = device_at(tmp_path, hub, clock)
    device.runner.on_metadata(hub.metadata())
    frozen = hub.metadata(NOW - 30 * DAY_S)
    device.restart()

    device.runner.on_metadata(frozen)

    assert device.trust.versions.timestamp == 1
    assert device.runner.trusted_now() >= NOW - 300


def test_a_timestamp_of_another_key_tells_no_time(tmp_path: Path, hub: Hub) -> None:
    """Nobody but the hub moves a device's time."""
    device = device_at(tmp_path, hub, "1970")
    other = Hub()
    forged = other.metadata(NOW + 300 * DAY_S)
    files = dict(hub.metadata().files)
    files["timestamp.json"] = forged.files["timestamp.json"]

    device.runner.on_metadata(msgspec.structs.replace(forged, files=files))

    assert device.runner.trusted_now() < EARLIEST_WALL + DAY_S


def test_a_hub_that_signed_in_the_future_is_told_as_that(
    tmp_path: Path, hub: Hub
) -> None:
    """The device's clock can be right: the event says whose time is ahead."""
    device = device_at(tmp_path, hub, "right")
    device.runner.on_metadata(hub.metadata(NOW))
    device.runner.on_metadata(hub.metadata(NOW + 20 * DAY_S))

    device.settle(5)

    (event,) = device.alerts()
    assert isinstance(event, EventRecord)
    assert event.code == "AGENT-CLOCK-002"
    assert "the hub's signed time is ahead" in event.text
    assert "hub keys rotate online" in event.text


def test_a_release_of_another_history_is_not_taken_for_the_installed_one(
    tmp_path: Path, hub: Hub
) -> None:
    """The same number with another digest is never reported as committed."""
    device = device_at(tmp_path, hub, "right")
    (tmp_path / "device" / "releases").mkdir(parents=True, exist_ok=True)
    (tmp_path / "device" / "releases" / "1.json").write_bytes(b"another manifest")
    device.slots.write(Slots(active=1, committed=(1,)))
    device.restart()
    device.runner.on_metadata(hub.metadata())

    device.runner.on_desired(hub.assign(seq=2))
    device.settle(5)

    assert device.reports() == []
    assert device.runner.state.seq == 0
    shown = device.runner.obstacles.present
    assert shown is not None
    assert shown.code == "AGENT-UPDATE-035"
