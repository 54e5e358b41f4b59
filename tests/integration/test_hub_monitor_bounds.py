"""What the monitor keeps in memory is bounded, whatever devices invent."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from edge_agent.base.clock import SystemClock
from edge_agent.wire.profile import ProfileData
from edge_agent.wire.records import (
    AnyRecord,
    FeedbackRecord,
    ProfileRecord,
    UpdateRecord,
)
from edge_agent.wire.topics import Lane
from hub.config import Home, HubConfig
from hub.home import create_home
from hub.monitor import late_evidence
from hub.monitor import service as monitor
from hub.monitor.late_evidence import LateEvidenceWatch
from hub.monitor.service import MonitorService
from hub.service import open_services
from hub.storage import devices
from hub.storage.db import transaction
from hub.storage.streams import StreamKey
from tests.hub_records import plant

COUNT = 300


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Return a fresh home."""
    home = Home(tmp_path / "home")
    create_home(home, SystemClock())
    return home


@pytest.fixture
def engine(home: Home) -> Iterator[Engine]:
    """Return its database, which knows one device and no release."""
    engine = open_services(home).engine
    with transaction(engine) as connection:
        devices.touch(connection, "d1", 1.0)
    yield engine
    engine.dispose()


def label(number: int, release: int) -> FeedbackRecord:
    """Return a label for a prediction of a release."""
    return FeedbackRecord(
        at=1.0,
        sample_id=f"s{number}",
        release=release,
        predicted="a",
        label="b",
        correct=False,
        confidence=0.5,
        predicted_at=1.0,
    )


def store(engine: Engine, boot: int, rows: list[AnyRecord], lane: Lane) -> None:
    """Store records of a start of the device."""
    key = StreamKey(device="d1", boot=f"{boot:016x}", lane=lane)
    with transaction(engine) as connection:
        plant(connection, key, list(enumerate(rows, start=1)), 1.0)


def watch(engine: Engine, home: Home) -> MonitorService:
    """Return a monitor that has read everything."""
    service = MonitorService(engine, home, HubConfig(), SystemClock())
    for _ in range(3):
        service.tick()
    return service


def test_labels_of_unknown_releases_leave_nothing_behind(
    engine: Engine, home: Home
) -> None:
    """Neither a detector each nor a note that the release is unknown, after a start."""
    rows: list[AnyRecord] = [label(n, 1000 + n) for n in range(COUNT)]
    store(engine, 1, rows, Lane.METRIC)

    service = watch(engine, home)

    assert service.footprint() == 0


def test_cohorts_and_starts_that_a_device_invents_are_bounded(
    engine: Engine, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest starts are told apart, and the cohorts heard last are followed."""
    monkeypatch.setattr(monitor, "MAX_LABELLED", 5)
    service = MonitorService(engine, home, HubConfig(), SystemClock())
    for number in range(20):
        with transaction(engine) as connection:
            connection.exec_driver_sql(f"UPDATE devices SET cohort = 'c{number}'")
        store(engine, number, [label(number, 0)], Lane.METRIC)
        service.tick()
    assert service.footprint() == 5

    for number in range(100, 100 + COUNT):
        record = ProfileRecord(
            at=1.0,
            release=7,
            reference="0" * 64,
            window_start_at=1.0,
            window_end_at=2.0,
            profile=ProfileData(rows=1, counts=[]),
        )
        store(engine, number, [record], Lane.METRIC)
    service.tick()
    assert service.footprint() == 5 + monitor.MAX_STARTS


def test_what_a_device_says_of_releases_that_it_invents_is_bounded(
    engine: Engine,
) -> None:
    """The newest sixteen are remembered."""
    rows: list[AnyRecord] = [
        UpdateRecord(
            at=1.0,
            assignment_seq=1,
            rollout="r",
            release=number,
            phase="IDLE",
            evidence="failed",
        )
        for number in range(1, COUNT)
    ]
    store(engine, 1, rows, Lane.STATE)
    with transaction(engine) as connection:
        connection.exec_driver_sql(f"UPDATE devices SET release = {COUNT - 1}")
    evidence = LateEvidenceWatch(engine)

    (found,) = evidence.observe(set(), 1.0)
    assert found.release == COUNT - 1
    assert evidence.footprint() == late_evidence.MAX_RELEASES
