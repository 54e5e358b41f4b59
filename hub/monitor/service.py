"""Reads what is new, scores the devices it concerns, and tells the alerts.

The ticker thread calls :meth:`MonitorService.tick`; one that finds nothing new costs
a few short reads. All state can be rebuilt from the database: after a start it reads
on from the first record, a chunk a tick, and observes nothing before it has caught up
(so that a restart neither raises nor clears an alert).
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, Engine, select

from edge_agent.base.clock import Clock
from hub.alerts.machine import Condition, Timing
from hub.alerts.service import AlertService, Observation
from hub.config import Home, HubConfig
from hub.monitor.clone import observe_clone
from hub.monitor.observe import (
    ACCURACY,
    DRIFT,
    Member,
    observe_accuracy,
    observe_drift,
)
from hub.monitor.performance import AccuracyWatch
from hub.monitor.releases import MonitoredRelease, read_monitored
from hub.monitor.scoring import (
    DeviceScore,
    History,
    Position,
    Window,
    misfit,
    score_device,
)
from hub.set_aside import SetAside, Subject
from hub.storage import clones, records
from hub.storage.records import StoredFeedback, StoredProfile
from hub.storage.tables import DEVICES

CHUNK = 1000
FRESH_PROFILE_S = 900.0
"""Three times the agent's longest window: after that a device is silent."""
FRESH_LABELS_S = 86_400.0
NO_COHORT = "default"

Watch = Callable[[Collection[tuple[str, int, str]], float], Sequence[Observation]]
"""From the open incidents and the time to what a rule of its own sees."""
OnRelease = tuple[str, int]
"""A device (or a cohort) and a release."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Device:
    id: str
    cohort: str
    release: int


@dataclass(slots=True, kw_only=True)
class _Watched:
    """A device under one release: its history, score, and when it was last heard."""

    history: History
    score: DeviceScore | None = None
    heard_at: float = 0.0
    is_dirty: bool = False


@dataclass(slots=True, kw_only=True)
class _Labelled:
    """A cohort's labels under one release."""

    watch: AccuracyWatch
    heard_at: float = 0.0


@dataclass(slots=True)
class _Cursor:
    """Up to which row the tables have been read, and the starts of each device."""

    profile: int = 0
    feedback: int = 0
    starts: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))

    def position(self, row: StoredProfile) -> Position:
        """Number a device's starts in the order in which they were first heard of."""
        starts = self.starts[row.device]
        return Position(starts.setdefault(row.boot, len(starts)), row.seq)


class MonitorService:
    """Drift and accuracy of all cohorts. One instance, in the ticker thread."""

    def __init__(
        self,
        engine: Engine,
        home: Home,
        config: HubConfig,
        clock: Clock,
        *,
        watches: Sequence[Watch] = (),
    ) -> None:
        """Start with nothing read; ``watches`` observe what is not telemetry."""
        self._watches = watches
        self._engine, self._home, self._clock = engine, home, clock
        self._config = config.monitor
        self._alerts = AlertService(
            engine,
            Timing(
                for_s=self._config.for_s,
                keep_firing_for_s=self._config.keep_firing_for_s,
            ),
        )
        self._set_aside = SetAside(engine)
        self._cursor = _Cursor()
        self._releases: dict[int, MonitoredRelease | None] = {}
        self._watched: dict[OnRelease, _Watched] = {}
        self._labelled: dict[OnRelease, _Labelled] = {}

    def tick(self) -> None:
        """Take in what is new, score, and step the alerts."""
        with self._engine.connect() as connection:
            devices = list(_read_devices(connection))
            profiles = records.read_profiles(connection, self._cursor.profile, CHUNK)
            labels = records.read_feedback(connection, self._cursor.feedback, CHUNK)
            cloned = clones.list_clones(connection)
        self._take_profiles(profiles)
        self._take_labels(labels, {device.id: device.cohort for device in devices})
        if CHUNK in (len(profiles), len(labels)):
            return
        self._score()
        now = self._clock.wall()
        twice = [observe_clone(row, now) for row in cloned]
        keys = self._alerts.open_keys
        others = [seen for watch in self._watches for seen in watch(keys, now)]
        seen = [*self._observe(devices, now), *twice, *others]
        self._set_aside.flush()
        seen += self._set_aside.observe(keys, now)
        self._alerts.apply(seen, now)

    def scores(self, release: int) -> dict[str, DeviceScore]:
        """Return the newest score of each device on a release."""
        return {
            device: watched.score
            for (device, on), watched in self._watched.items()
            if on == release and watched.score is not None
        }

    def _take_profiles(self, rows: Iterable[StoredProfile]) -> None:
        for row in rows:
            subject = Subject(
                device=row.device,
                what=f"record {row.id}",
                at=row.received_at,
                body=row.body,
            )
            with self._set_aside.guard(subject):
                self._take_profile(row)
            self._cursor.profile = row.id

    def _take_profile(self, row: StoredProfile) -> None:
        position, record = self._cursor.position(row), row.record
        if record is None:
            raise ValueError("it is stored, but the wire does not allow it")
        release = self._release(record.release)
        if release is None or record.reference != release.reference:
            return
        if fault := misfit(release.channels, record.profile):
            raise ValueError(fault)
        window = Window(
            position=position,
            start_at=record.window_start_at,
            end_at=record.window_end_at,
            data=record.profile,
        )
        watched = self._watched.setdefault(
            (row.device, record.release),
            _Watched(
                history=History(
                    baseline_rows=self._config.baseline_rows,
                    recent_rows=self._config.recent_rows,
                )
            ),
        )
        watched.heard_at = max(watched.heard_at, row.received_at)
        watched.is_dirty |= watched.history.add(window)

    def _take_labels(self, rows: list[StoredFeedback], cohorts: dict[str, str]) -> None:
        """Take labels in the order of their predictions, as far as they have come."""
        for row in sorted(rows, key=lambda row: (row.predicted_at, row.id)):
            self._cursor.feedback = max(self._cursor.feedback, row.id)
            key = (cohorts.get(row.device, NO_COHORT), row.release)
            labelled = self._labelled.setdefault(
                key,
                _Labelled(
                    watch=AccuracyWatch(
                        min_labels=self._config.min_labels,
                        drop=self._config.accuracy_drop,
                        overlap=self._overlap(row.release),
                    )
                ),
            )
            labelled.watch.add(correct=row.correct, at=row.predicted_at)
            labelled.heard_at = max(labelled.heard_at, row.received_at)

    def _overlap(self, number: int) -> float:
        release = self._release(number)
        return release.overlap if release is not None else 1.0

    def _release(self, number: int) -> MonitoredRelease | None:
        if number not in self._releases:
            self._releases[number] = read_monitored(self._engine, self._home, number)
        return self._releases[number]

    def _score(self) -> None:
        for (device, number), watched in self._watched.items():
            release = self._releases[number]
            if not watched.is_dirty or release is None:
                continue
            what = f"windows of release {number}"
            subject = Subject(device=device, what=what, at=watched.heard_at)
            with self._set_aside.guard(subject):
                watched.score = score_device(
                    release.channels, release.thresholds, watched.history
                )
            watched.is_dirty = False

    def _observe(self, devices: list[_Device], now: float) -> Iterator[Observation]:
        cohorts: dict[OnRelease, list[_Device]] = defaultdict(list)
        for device in devices:
            cohorts[device.cohort, device.release].append(device)
        for (cohort, number), members in cohorts.items():
            release = self._releases.get(number)
            if release is not None:
                yield observe_drift(
                    number,
                    cohort,
                    [self._member(device, now) for device in members],
                    release.thresholds,
                    self._config,
                )
            labelled = self._labelled.get((cohort, number))
            if labelled is not None:
                fresh = now - labelled.heard_at <= FRESH_LABELS_S
                yield observe_accuracy(number, cohort, labelled.watch, is_fresh=fresh)
        yield from self._moot(devices)

    def _member(self, device: _Device, now: float) -> Member:
        watched = self._watched.get((device.id, device.release))
        silent = watched is None or now - watched.heard_at > FRESH_PROFILE_S
        return Member(
            device=device.id, score=None if silent or not watched else watched.score
        )

    def _moot(self, devices: list[_Device]) -> Iterator[Observation]:
        """Close incidents of releases that a whole cohort is known to have left."""
        on: dict[str, set[int]] = defaultdict(set)
        for device in devices:
            on[device.cohort].add(device.release)
        for rule, release, cohort in self._alerts.open_keys:
            if (
                rule in {ACCURACY, DRIFT}
                and on[cohort]
                and not on[cohort] & {0, release}
            ):
                yield Observation(
                    rule=rule,
                    release=release,
                    cohort=cohort,
                    condition=Condition.MOOT,
                )


def _read_devices(connection: Connection) -> Iterator[_Device]:
    columns = (DEVICES.c.id, DEVICES.c.cohort, DEVICES.c.release)
    for row in connection.execute(select(*columns).order_by(DEVICES.c.id)):
        yield _Device(id=row.id, cohort=row.cohort or NO_COHORT, release=row.release)
