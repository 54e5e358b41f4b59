"""A database that holds what devices should never have sent: the hub lives with it."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, text
from sqlalchemy.exc import DatabaseError, OperationalError

from edge_agent.base.clock import SystemClock
from edge_agent.wire.profile import ChannelMoments, ProfileData
from edge_agent.wire.records import AnyRecord, ProfileRecord, SampleRecord
from edge_agent.wire.topics import Lane
from hub.alerts.service import list_incidents
from hub.cli import cli
from hub.config import Home
from hub.faults import Fault, classify
from hub.home import create_home
from hub.ingest.quarantine import list_quarantine
from hub.monitor.service import MonitorService
from hub.retrain.job_files import write_samples
from hub.service import open_services
from hub.set_aside import SET_ASIDE
from hub.storage.db import transaction
from hub.storage.records import StoredSample
from hub.storage.streams import StreamKey
from hub.ticker import Step, Ticker
from tests.hub_records import plant
from tests.integration import test_hub_monitor_service as scene

DEVICES_OF_IT = scene.DEVICES_B[:2]
NOW = 1_000_000.0


def moments(**values: float) -> ChannelMoments:
    """Make the moments of a channel, by default good ones of 600 rows."""
    good = {"n": 600, "mean": 0.5, "m2": 1.0, "low": 0.0, "high": 1.0}
    return msgspec.convert(good | values, ChannelMoments)


SHORT = [moments()]
PROFILES: dict[str, list[list[ChannelMoments]]] = {
    "a single entry of moments": [SHORT, SHORT],
    "means of 1e308": [
        [moments(), moments()],
        [moments(), moments(mean=1e308, n=2**53)],
        [moments(), moments(mean=-1e308, n=2**53)],
    ],
    "a negative sum of squares": [[moments(), moments(m2=-1.0)]] * 2,
    "a confidence of 40": [[moments(), moments(mean=40.0)]] * 2,
}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Return a hub with a release on which two devices are."""
    home = Home(tmp_path / "hub")
    create_home(home, SystemClock())
    scene.add_release(open_services(home).engine, home)
    return home


def window(found: list[ChannelMoments], place: int) -> ProfileRecord:
    """Make a window of the right bins; every second one is far from the first."""
    counts = [[0] * one.bins for one in scene.REFERENCE.channels]
    for one in counts:
        one[0 if place else -1] = 600
    return ProfileRecord(
        at=NOW,
        release=1,
        reference=scene.reference_file().sha256,
        window_start_at=NOW - 1,
        window_end_at=NOW,
        profile=ProfileData(rows=600, counts=counts, moments=found),
    )


def store(engine: Engine, device: str, rows: list[AnyRecord], lane: Lane) -> None:
    """Put records into the database as a hub without bounds did."""
    key = StreamKey(device=device, boot=scene.BOOT, lane=lane)
    with transaction(engine) as connection:
        plant(connection, key, list(enumerate(rows, 1)), NOW)


@pytest.mark.parametrize("name", PROFILES)
def test_stored_poison_ends_neither_a_tick_nor_a_restart_nor_the_export(
    home: Home, name: str, tmp_path: Path
) -> None:
    """Each start takes the rest in, sets the poison aside once, and says so."""
    services = open_services(home)
    bad = [window(found, place) for place, found in enumerate(PROFILES[name])]
    for device in DEVICES_OF_IT:
        store(services.engine, device, [*bad], Lane.METRIC)

    for _ in ("first start", "restart"):
        clock = scene.HandClock(NOW)
        config = scene.CONFIG
        monitor = MonitorService(services.engine, home, config, clock)
        monitor.tick()
        monitor.tick()

    poison = list_quarantine(services.engine)
    alerts = list_incidents(services.engine)
    assert {row.topic.split("/")[-3] for row in poison} == set(DEVICES_OF_IT)
    assert len({(row.topic, row.reason) for row in poison}) == len(poison)
    assert {row.cohort for row in alerts if row.rule == SET_ASIDE} == set(DEVICES_OF_IT)
    for command in (
        ("export", "--sqlite", str(tmp_path / "out.db")),
        ("ingest", "quarantine", "list"),
        ("alerts", "list"),
        ("devices", "list"),
    ):
        result = CliRunner().invoke(cli, ["--home", str(home.path), *command])
        assert result.exit_code == 0, (command, result.output, result.exception)


@pytest.mark.parametrize("column", ["reported", "presence"])
def test_a_stored_twin_that_is_not_allowed_now_is_as_good_as_none(
    home: Home, column: str
) -> None:
    """Devices are listed though one has a document that the wire refuses."""
    services = open_services(home)
    with transaction(services.engine) as connection:
        connection.execute(text(f"UPDATE devices SET {column} = '{{}}' WHERE id='b-0'"))

    assert [row.id for row in services.devices.list_devices()] == scene.DEVICES_B
    services.rollouts.tick()


def test_a_sample_whose_shape_wraps_is_left_out(tmp_path: Path) -> None:
    """The product of a shape is that of its numbers, not of 64 bits."""

    def sample(name: str, shape: list[int]) -> StoredSample:
        record = SampleRecord(
            at=1.0,
            sample_id=name,
            release=1,
            consent="c",
            label="a",
            predicted="a",
            shape=shape,
            data=b"\0" * 4 * (16777232 * 1099510579201 % 2**64),
        )
        return StoredSample(device="d1", record=record)

    wrapped = sample("wild", [16777232, 1099510579201])
    good = sample("good", [len(wrapped.record.data) // 4])

    assert write_samples(tmp_path, [wrapped, good]) == 1


def fail(error: Exception) -> Callable[[], None]:
    """Return work that fails."""

    def work() -> None:
        raise error

    return work


def sqlite_error(kind: type[DatabaseError], words: str) -> DatabaseError:
    """Return an error of the database as SQLAlchemy passes it on."""
    return kind("SELECT 1", {}, sqlite3.DatabaseError(words))


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (IndexError("list index out of range"), Fault.DATA),
        (OverflowError("intermediate overflow in fsum"), Fault.DATA),
        (OSError(24, "Too many open files"), Fault.RESOURCE),
        (OSError(28, "No space left on device"), Fault.RESOURCE),
        (MemoryError(), Fault.RESOURCE),
        (sqlite_error(OperationalError, "database or disk is full"), Fault.RESOURCE),
        (sqlite_error(OperationalError, "unable to open database"), Fault.RESOURCE),
        (sqlite_error(OperationalError, "database is locked"), Fault.BUSY),
    ],
)
def test_a_step_that_fails_holds_up_no_other_and_comes_back(
    error: Exception, fault: Fault
) -> None:
    """The other steps go on; the failing one waits longer each time, then recovers."""
    now, done = [0.0], [0]
    bad = Step(name="bad", work=fail(error))

    def count() -> None:
        done[0] += 1

    ticker = Ticker([bad, Step(name="good", work=count)], mono=lambda: now[0])
    for _ in range(3):
        ticker.tick()
    assert done == [3]
    assert classify(error) is fault
    assert bad.reason.startswith(fault)
    assert (bad.pause_s > 0) is (fault is not Fault.BUSY)

    bad.work = lambda: None
    now[0] = 100.0
    ticker.tick()
    assert (bad.reason, bad.pause_s) == ("", 0.0)


def test_a_broken_database_ends_the_ticker() -> None:
    """Nothing can be promised over a database that is malformed."""
    error = sqlite_error(DatabaseError, "database disk image is malformed")

    with pytest.raises(DatabaseError):
        Ticker([Step(name="any", work=fail(error))]).tick()
