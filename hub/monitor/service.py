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
from hub.monitor.clone import CLONE, observe_clone
from hub.monitor.metadata import METADATA_AHEAD, METADATA_LAG
from hub.monitor.no_data import NO_DATA, NoDataWatch
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
from hub.storage.tables import DEVICES, RELEASES

CHUNK = 1000
FRESH_PROFILE_S = 900.0
"""Three times the agent's longest window: after that a device is silent."""
FRESH_LABELS_S = 86_400.0
NO_COHORT = "default"
FACTORY = 0
"""The model that a device came with, as a release."""
MAX_STARTS = 64
"""Starts of a device that are told apart; windows of older ones come no more."""
MAX_LABELLED = 4096
"""Cohorts and releases whose labels are followed; those heard longest ago go."""
_OF_COHORTS = frozenset({ACCURACY, DRIFT, NO_DATA})
_OF_DEVICES = frozenset({CLONE, METADATA_AHEAD, METADATA_LAG})
"""Rules whose alerts have a device's id in the place of the cohort."""

Watch = Callable[[Collection[tuple[str, int, str]], float], Sequence[Observation]]
"""From the open incidents and the time to what a rule of its own sees."""
OnRelease = tuple[str, int]
"""A device (or a cohort) and a release."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Device:
    """A device that takes part: retired and forgotten ones are in nothing here."""

    id: str
    cohort: str
    release: int
    seen_at: float


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
class _Starts:
    """A device's starts by number, the newest of them, and how many there were."""

    numbers: dict[str, int] = field(default_factory=dict)
    count: int = 0


@dataclass(slots=True)
class _Cursor:
    """Up to which row the tables have been read, and the starts of each device."""

    profile: int = 0
    feedback: int = 0
    starts: dict[str, _Starts] = field(default_factory=lambda: defaultdict(_Starts))

    def position(self, row: StoredProfile) -> Position:
        """Number a device's starts in the order in which they were first heard of."""
        starts = self.starts[row.device]
        number = starts.numbers.get(row.boot)
        if number is None:
            number = starts.numbers[row.boot] = starts.count
            starts.count += 1
            if len(starts.numbers) > MAX_STARTS:
                del starts.numbers[next(iter(starts.numbers))]
        return Position(number, row.seq)


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
        self._known: set[int] = set()
        self._releases: dict[int, MonitoredRelease | None] = {}
        self._watched: dict[OnRelease, _Watched] = {}
        self._labelled: dict[OnRelease, _Labelled] = {}
        self._no_data = NoDataWatch(FRESH_PROFILE_S, self._config.heard_s)

    def tick(self) -> None:
        """Take in what is new, score, and step the alerts."""
        with self._engine.connect() as connection:
            devices = list(_read_devices(connection))
            known = set(connection.scalars(select(RELEASES.c.release)))
            profiles = records.read_profiles(connection, self._cursor.profile, CHUNK)
            labels = records.read_feedback(connection, self._cursor.feedback, CHUNK)
            cloned = clones.list_clones(connection)
        self._known = known
        self._take_profiles(profiles)
        self._take_labels(labels, {device.id: device.cohort for device in devices})
        if CHUNK in (len(profiles), len(labels)):
            return
        self._score()
        now = self._clock.wall()
        present = {device.id for device in devices}
        twice = [observe_clone(row, now) for row in cloned if row.device in present]
        keys = self._alerts.open_keys
        others = [seen for watch in self._watches for seen in watch(keys, now)]
        seen = [*self._observe(devices, now), *twice, *others]
        self._set_aside.flush()
        seen += self._set_aside.observe(keys, now)
        self._alerts.apply(seen, now)

    def reload(self) -> None:
        """Read the open alerts anew, and drop devices that have been forgotten."""
        self._alerts.reload()
        with self._engine.connect() as connection:
            known = set(connection.scalars(select(DEVICES.c.id)))
        self._watched = {
            key: watched for key, watched in self._watched.items() if key[0] in known
        }
        self._no_data.keep(known)

    def scores(self, release: int) -> dict[str, DeviceScore]:
        """Return the newest score of each device on a release."""
        return {
            device: watched.score
            for (device, on), watched in self._watched.items()
            if on == release and watched.score is not None
        }

    def footprint(self) -> int:
        """Return how many things are kept of what devices named: starts and labels."""
        starts = sum(len(one.numbers) for one in self._cursor.starts.values())
        return len(self._labelled) + len(self._releases) + starts

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
        self._no_data.take(row.device, record, row.received_at)
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
            if row.device not in cohorts or row.release not in self._known | {FACTORY}:
                continue
            key = (cohorts[row.device], row.release)
            labelled = self._labelled.get(key) or self._follow_labels(key)
            labelled.watch.add(correct=row.correct, at=row.predicted_at)
            labelled.heard_at = max(labelled.heard_at, row.received_at)

    def _follow_labels(self, key: OnRelease) -> _Labelled:
        """Begin with the labels of a cohort on a release, within the bound."""
        if len(self._labelled) >= MAX_LABELLED:
            del self._labelled[
                min(self._labelled, key=lambda key: self._labelled[key].heard_at)
            ]
        watch = AccuracyWatch(
            min_labels=self._config.min_labels,
            drop=self._config.accuracy_drop,
            overlap=self._overlap(key[1]),
        )
        self._labelled[key] = _Labelled(watch=watch)
        return self._labelled[key]

    def _overlap(self, number: int) -> float:
        release = self._release(number)
        return release.overlap if release is not None else 1.0

    def _release(self, number: int) -> MonitoredRelease | None:
        """Return what is known of a release; nothing is kept of numbers that lie."""
        if number not in self._known:
            return None
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
        names = {key: [one.id for one in found] for key, found in cohorts.items()}
        yield from self._no_data.observe(names, self._alerts.open_keys, now)
        yield from self._moot(devices)

    def _member(self, device: _Device, now: float) -> Member:
        watched = self._watched.get((device.id, device.release))
        profile_at = watched.heard_at if watched else 0.0
        silent = watched is None or now - profile_at > FRESH_PROFILE_S
        heard_at = max(profile_at, device.seen_at)
        return Member(
            device=device.id,
            score=None if silent or not watched else watched.score,
            heard=now - heard_at <= self._config.heard_s,
        )

    def _moot(self, devices: list[_Device]) -> Iterator[Observation]:
        """Close incidents of releases that a whole cohort is known to have left.

        A cohort, or a device, that takes part no more has left them all.
        """
        on: dict[str, set[int]] = defaultdict(set)
        for device in devices:
            on[device.cohort].add(device.release)
        names = {device.id for device in devices}
        for rule, release, cohort in self._alerts.open_keys:
            left = rule in _OF_COHORTS and not on[cohort] & {0, release}
            if left or (rule in _OF_DEVICES and cohort not in names):
                yield Observation(
                    rule=rule,
                    release=release,
                    cohort=cohort,
                    condition=Condition.MOOT,
                )


def _read_devices(connection: Connection) -> Iterator[_Device]:
    columns = DEVICES.c
    found = (
        select(columns.id, columns.cohort, columns.release, columns.last_seen_at)
        .where(columns.retired_at.is_(None))
        .order_by(columns.id)
    )
    for row in connection.execute(found):
        yield _Device(
            id=row.id,
            cohort=row.cohort or NO_COHORT,
            release=row.release,
            seen_at=row.last_seen_at,
        )
