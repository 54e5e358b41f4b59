"""The monitor over a real database: from profile records and labels to incidents."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine, insert, update

from edge_agent.sketch.profile import WindowProfile
from edge_agent.sketch.reference import build_reference
from edge_agent.wire import codec
from edge_agent.wire.manifest import (
    Bundle,
    FileRef,
    GateReport,
    InputContract,
    Provenance,
    Release,
    TensorContract,
)
from edge_agent.wire.profile import Channel, Source
from edge_agent.wire.records import FeedbackRecord, ProfileRecord
from edge_agent.wire.topics import Lane
from hub.alerts.evidence import AccuracyEvidence, DriftEvidence, NoDataEvidence
from hub.alerts.machine import AlertState
from hub.alerts.service import list_incidents
from hub.config import Home, HubConfig, MonitorConfig
from hub.monitor.calibrate import calibrate
from hub.monitor.service import MonitorService
from hub.storage.alerts import AlertRow
from hub.storage.db import open_database, transaction
from hub.storage.releases import ReleaseRow, insert_release
from hub.storage.streams import StreamKey
from hub.storage.tables import DEVICES
from tests.hub_records import plant

BOOT = "0123456789abcdef"
DEVICES_B = [f"b-{i}" for i in range(4)]
CONFIG = HubConfig(monitor=MonitorConfig(baseline_rows=400, recent_rows=200))
CHANNELS = [
    Channel(name="accel_x.mean", source=Source.INPUT_MEAN, index=0),
    Channel(name="confidence", source=Source.CONFIDENCE),
]
RNG = np.random.default_rng(11)
REFERENCE = build_reference("m", CHANNELS, RNG.normal(0.8, 0.1, (2000, 2)))


@dataclass
class HandClock:
    """A clock that moves when it is told to."""

    now: float = 1_000_000.0

    def wall(self) -> float:
        """Return the time set."""
        return self.now

    def mono(self) -> float:
        """Return the same."""
        return self.now


@dataclass
class Rig:
    """A monitor over a home folder with one release, and four devices on it."""

    engine: Engine
    home: Home
    clock: HandClock
    monitor: MonitorService
    seqs: dict[str, int] = field(default_factory=dict)

    def report(self, device: str, rows: int, *, shift: float = 0.0) -> None:
        """Store one window of a device."""
        profile = WindowProfile(REFERENCE.channels)
        values = RNG.normal(0.8, 0.1, (rows, 2))
        values[:, 0] += shift
        values[:, 1] -= shift / 3
        profile.add_rows(values)
        self._window(device, profile)

    def reject(self, device: str, times: int) -> None:
        """Store one window of a device that accepted no sample."""
        profile = WindowProfile(REFERENCE.channels)
        profile.reject("not_finite", times)
        self._window(device, profile)

    def _window(self, device: str, profile: WindowProfile) -> None:
        record = ProfileRecord(
            at=self.clock.now,
            release=1,
            reference=reference_file().sha256,
            window_start_at=self.clock.now - 1,
            window_end_at=self.clock.now,
            profile=profile.to_wire(),
        )
        self._store(device, record)

    def label(self, device: str, *, correct: bool) -> None:
        """Store one label for a prediction of release 1."""
        number = self.seqs.get(device, 0)
        record = FeedbackRecord(
            at=self.clock.now,
            sample_id=f"s{number}",
            release=1,
            predicted="a",
            label="a" if correct else "b",
            correct=correct,
            confidence=0.5,
            predicted_at=self.clock.now,
        )
        self._store(device, record)

    def _store(self, device: str, record: ProfileRecord | FeedbackRecord) -> None:
        seq = self.seqs[device] = self.seqs.get(device, 0) + 1
        key = StreamKey(device=device, boot=BOOT, lane=Lane.METRIC)
        with transaction(self.engine) as connection:
            plant(connection, key, [(seq, record)], self.clock.now)

    def tick(self, wait_s: float = 1.0) -> list[AlertRow]:
        """Let time pass, tick, and return all incidents."""
        self.clock.now += wait_s
        self.monitor.tick()
        return list_incidents(self.engine)

    def drift(self, devices: list[str]) -> None:
        """Give all devices a baseline and clean windows, then shift some of them."""
        for shift in (0.0, 0.0, 0.0, 0.0, 0.25, 0.25):
            for device in DEVICES_B:
                self.report(
                    device, 200 if shift else 110, shift=shift * (device in devices)
                )


def reference_file() -> FileRef:
    """Return the name, digest and size of the release's reference profile."""
    data = codec.encode_pretty(REFERENCE)
    digest = hashlib.sha256(data).hexdigest()
    return FileRef(name="reference.json", sha256=digest, bytes=len(data))


def bundle_of() -> Bundle:
    """Return a bundle of which only the reference matters here."""
    other = FileRef(name="x", sha256="0" * 64, bytes=0)
    return Bundle(
        name="m",
        task="watch",
        variant="float",
        input=InputContract(tensor=TensorContract(name="x", shape=[100, 6])),
        outputs=[TensorContract(name="p", shape=[2])],
        labels=["a", "b"],
        model=other,
        reference=reference_file(),
        golden=other,
        calibration=other,
        card=other,
        gate=GateReport(ok=True),
        provenance=Provenance(created_at=1.0),
    )


def add_release(engine: Engine, home: Home) -> None:
    """Put release 1 and its reference profile where the hub keeps them."""
    folder = home.releases / "1"
    folder.mkdir(parents=True)
    (folder / "reference.json").write_bytes(codec.encode_pretty(REFERENCE))
    thresholds = calibrate(
        REFERENCE,
        RNG.normal(0.8, 0.1, (1800, 2)),
        np.repeat(["p", "q"], 900),
        baseline_rows=400,
        recent_rows=200,
    )
    row = ReleaseRow(
        release=1,
        name="m",
        state="published",
        bundle_sha256="1" * 64,
        model_sha256="0" * 64,
        manifest=Release(release=1, created_at=1.0, bundle=bundle_of()),
        thresholds=codec.encode(thresholds).decode(),
        created_at=1.0,
        published_at=1.0,
    )
    seen = {"release": 1, "first_seen_at": 1.0, "last_seen_at": 1.0}
    devices = [{"id": name, "cohort": "ward-b", **seen} for name in DEVICES_B]
    with transaction(engine) as connection:
        insert_release(connection, row)
        connection.execute(insert(DEVICES), devices)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """Return a monitor at work."""
    home = Home(tmp_path)
    engine = open_database(f"sqlite:///{tmp_path / 'hub.db'}")
    add_release(engine, home)
    clock = HandClock()
    monitor = MonitorService(engine, home, CONFIG, clock)
    yield Rig(engine=engine, home=home, clock=clock, monitor=monitor)
    engine.dispose()


def test_drift_of_a_cohort_fires_once_and_says_what_moved(rig: Rig) -> None:
    """Devices that move together make one incident with its evidence."""
    rig.drift(DEVICES_B)
    states = [rig.tick()[0].alert.state for _ in range(4)]
    (alert,) = rig.tick()

    assert states[0] is AlertState.PENDING
    assert states[-1] is AlertState.FIRING
    assert alert.summary.startswith(
        "drift in cohort ward-b on release 1: 4 of 4 devices, accel_x.mean PSI "
    )
    assert isinstance(alert.evidence, DriftEvidence)
    assert [d.device for d in alert.evidence.devices] == DEVICES_B
    assert alert.evidence.channels[0].name == "accel_x.mean"
    assert alert.evidence.confidence_change == pytest.approx(-0.083, abs=0.02)


def test_one_bad_device_is_no_drift_of_its_cohort(rig: Rig) -> None:
    """A single device that moves makes no incident."""
    rig.drift(DEVICES_B[:1])

    assert rig.tick() == []
    assert rig.tick() == []


def test_silence_is_unknown_and_leaving_the_release_resolves(rig: Rig) -> None:
    """Silent devices never resolve an incident; having left the release does."""
    rig.drift(DEVICES_B)
    for _ in range(4):
        rig.tick()
    silent = rig.tick(wait_s=2000.0)[0].alert.state
    still = rig.tick(wait_s=90_000.0)[0].alert.state
    with transaction(rig.engine) as connection:
        connection.execute(update(DEVICES).values(release=2))
    (after,) = rig.tick()

    assert silent is still is AlertState.UNKNOWN
    assert after.alert.state is AlertState.OK
    assert after.alert.resolved_at == rig.clock.now


def test_recovered_devices_resolve_after_keep_firing(rig: Rig) -> None:
    """Once the newest windows are as the first, the incident ends; a new one is new."""
    rig.drift(DEVICES_B)
    for _ in range(4):
        rig.tick()
    for device in DEVICES_B:
        rig.report(device, 200)
        rig.report(device, 200)
    recovering = rig.tick()[0].alert.state
    resolved = rig.tick(wait_s=61.0)[0].alert.state
    for device in DEVICES_B:
        rig.report(device, 200, shift=0.25)
        rig.report(device, 200, shift=0.25)
    again = rig.tick()

    assert (recovering, resolved) == (AlertState.RECOVERING, AlertState.OK)
    assert [row.alert.state for row in again] == [AlertState.OK, AlertState.PENDING]


def test_a_restarted_monitor_comes_to_the_same_incident(rig: Rig) -> None:
    """State is rebuilt from the database; the incident goes on, it is not a second."""
    rig.drift(DEVICES_B)
    for _ in range(4):
        rig.tick()
    rig.monitor = MonitorService(rig.engine, rig.home, CONFIG, rig.clock)
    (after,) = rig.tick()

    assert after.alert.state is AlertState.FIRING
    assert rig.monitor.scores(1).keys() == set(DEVICES_B)


def test_lost_accuracy_is_an_incident_of_its_own(rig: Rig) -> None:
    """Labels that turn wrong fire the accuracy rule, with interval and figures."""
    for place in range(200):
        correct = place % 10 != 0 if place < 120 else place % 3 == 0
        rig.label(DEVICES_B[place % 4], correct=correct)
        rig.clock.now += 1
    for _ in range(3):
        rig.tick()
    (alert,) = rig.tick()

    assert (alert.rule, alert.severity) == ("accuracy", "high")
    assert alert.alert.state is AlertState.FIRING
    assert "accuracy in cohort ward-b fell on release 1" in alert.summary
    assert isinstance(alert.evidence, AccuracyEvidence)
    assert math.isclose(alert.evidence.baseline_error, 0.1, abs_tol=0.02)


def swap_out(rig: Rig, count: int) -> None:
    """Add devices of the cohort that were last heard long ago."""
    seen = {"release": 1, "cohort": "ward-b", "first_seen_at": 1.0, "last_seen_at": 1.0}
    with transaction(rig.engine) as connection:
        rows = [{"id": f"old-{number}", **seen} for number in range(count)]
        connection.execute(insert(DEVICES), rows)


def test_swapped_out_devices_do_not_outvote_those_that_are_heard(rig: Rig) -> None:
    """Four of four drift: sixteen that are gone keep them from no alert."""
    swap_out(rig, 16)
    rig.drift(DEVICES_B)
    for _ in range(4):
        rig.tick()
    (alert,) = rig.tick()

    assert alert.alert.state is AlertState.FIRING
    assert "4 of 4 devices" in alert.summary
    assert alert.summary.endswith("4 of 20 heard in the last 24 h")
    assert isinstance(alert.evidence, DriftEvidence)
    assert (alert.evidence.cohort_devices, alert.evidence.unheard) == (4, 16)


def test_a_retired_device_is_in_no_share_and_no_alert(rig: Rig) -> None:
    """What a retired device sends counts for nothing; undone, it counts again."""
    rig.drift(DEVICES_B)
    with transaction(rig.engine) as connection:
        connection.execute(update(DEVICES).values(retired_at=1.0))
    assert rig.tick() == []

    with transaction(rig.engine) as connection:
        connection.execute(update(DEVICES).values(retired_at=None))
    (alert,) = rig.tick()
    assert alert.rule == "drift"


def test_an_alert_on_devices_that_were_all_retired_ends(rig: Rig) -> None:
    """It is moot: it does not stay unknown for ever."""
    rig.drift(DEVICES_B)
    for _ in range(4):
        rig.tick()
    with transaction(rig.engine) as connection:
        connection.execute(update(DEVICES).values(retired_at=1.0))
    (alert,) = rig.tick()

    assert alert.alert.state is AlertState.OK


def test_a_device_that_rejects_every_sample_is_an_alert(rig: Rig) -> None:
    """It fires though there is nothing to score, names the device, and ends."""
    rig.report(DEVICES_B[0], 30)
    for _ in range(2):
        rig.reject(DEVICES_B[1], 15)
    for _ in range(3):
        rig.tick()
    (alert,) = rig.tick()
    for _ in range(2):
        rig.report(DEVICES_B[1], 30)
    rig.tick()
    (after,) = rig.tick(wait_s=61.0)

    assert (alert.rule, alert.cohort, alert.alert.state) == (
        "no_data",
        "ward-b",
        AlertState.FIRING,
    )
    assert "1 of 2 devices reject every sample: b-1 (not_finite)" in alert.summary
    assert isinstance(alert.evidence, NoDataEvidence)
    assert alert.evidence.devices[0].rejected == 30
    assert after.alert.state is AlertState.OK


def test_a_few_samples_neither_start_nor_end_no_usable_data(rig: Rig) -> None:
    """A window of rejected samples is no alert; one accepted sample is no recovery."""
    rig.reject(DEVICES_B[0], 19)
    assert rig.tick() == []
    rig.reject(DEVICES_B[0], 1)
    for _ in range(4):
        rig.tick()
    rig.report(DEVICES_B[0], 1)
    (alert,) = rig.tick()

    assert alert.alert.state is AlertState.FIRING
