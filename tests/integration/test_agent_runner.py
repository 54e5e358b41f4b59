"""The runner with a scripted worker: deadlines, what is held back, what is dropped."""

from collections.abc import Callable, Iterator
from dataclasses import replace as changed
from pathlib import Path

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from edge_agent.config import OutboxConfig
from edge_agent.errors import WorkerError
from edge_agent.store.artifacts import ArtifactStore
from edge_agent.store.outbox import Outbox
from edge_agent.store.slots import Figures, Slots, SlotStore
from edge_agent.update.deadlines import GRACE_S
from edge_agent.update.download import Ways
from edge_agent.update.metadata import Trust
from edge_agent.update.paired_trial import START_S
from edge_agent.update.penalty import PENALTY_S
from edge_agent.update.phases import Phases
from edge_agent.update.runner import UpdateRunner
from edge_agent.update.selftest import Verdict
from edge_agent.update.shadow import ShadowState
from edge_agent.update.states import DEADLINES_S, Phase
from edge_agent.update.trials import Trials
from edge_agent.update.worker_port import Loaded, WorkerFigures
from edge_agent.wire.batch import decode_record
from edge_agent.wire.control import PairedPolicy, ShadowPolicy
from edge_agent.wire.records import ShadowSummary, UpdateRecord
from edge_agent.wire.topics import Lane
from tests.fakes.agent_hub import artifact_server
from tests.fakes.releases import MadeRelease, assign, make_release
from tests.fakes.tuf_repository import TufRepository
from tests.killpoints.device import VirtualClock

BOOT = "a" * 16


class AheadClock(VirtualClock):
    """Wall time that a test moves, too."""

    def __init__(self) -> None:
        """Start at the present."""
        super().__init__()
        self.ahead_s = 0.0

    def wall(self) -> float:
        """Return the wall time, moved ahead."""
        return super().wall() + self.ahead_s


class ScriptedWorker:
    """A worker that loads what the slot row names, unless it is mute, or stuck."""

    def __init__(self, slots: SlotStore) -> None:
        """Answer."""
        self._slots = slots
        self.is_mute = False
        self.stuck: int | None = None
        self.reloads: list[str] = []
        self.summary = ShadowSummary(release=0)

    def reload(self) -> Loaded:
        """Follow the slot row."""
        self._check()
        row = self._slots.read()
        self.reloads.append(row.phase)
        active = row.active if self.stuck is None else self.stuck
        return Loaded(release=active, sha256="ab" * 32 if active else "")

    def figures(self) -> WorkerFigures:
        """Return plenty of predictions."""
        self._check()
        active = self._slots.read().active
        return WorkerFigures(now=Figures(release=active, predictions=100), before=None)

    def shadow(self) -> ShadowState:
        """Return a shadow without a pair."""
        self._check()
        return ShadowState(summary=self.summary, ready=True)

    def _check(self) -> None:
        if self.is_mute:
            raise WorkerError("AGENT-WORKER-001", "mute", retryable=True)


class Bench:
    """A device of one runner."""

    def __init__(self, folder: Path, url: str, repository: TufRepository) -> None:
        """Start with release 1 active."""
        self.url = url
        self.repository = repository
        self.slots = SlotStore(folder / "agent.db", BOOT)
        self.slots.write(Slots(active=1, seq=1, committed=(1,)))
        self.clock = AheadClock()
        self.worker = ScriptedWorker(self.slots)
        self.folder = folder
        self.runner = self.make_runner()

    def make_runner(self) -> UpdateRunner:
        """Start the agent's update side."""
        trust = Trust(self.folder / "tuf", self.repository.root_versions[0])
        phases = Phases(
            ArtifactStore(self.folder),
            trust,
            self.worker,
            Ways(interrupted=lambda: False),
            Trials(self_test=lambda *_, **__: Verdict(ok=True)),
        )
        runner = UpdateRunner(
            "d1", self.slots, phases, self.clock, on_change=lambda _: None
        )
        runner.recover()
        runner.on_metadata(self.repository.bundle())
        return runner

    def assign(
        self, made: MadeRelease, seq: int, *, forced: bool = False, shadow: bool = True
    ) -> None:
        """Assign a release."""
        policy = ShadowPolicy(min_samples=10, min_s=0.0, deadline_s=500.0)
        wanted = replace(
            assign(made, "d1", seq, self.url),
            shadow=policy if shadow else UNSET,
            forced=forced or UNSET,
        )
        self.runner.on_desired(self.repository.assign(wanted))

    def run_until(self, holds: Callable[[], bool]) -> float:
        """Let time pass until something holds; return how much."""
        start = self.clock.mono()
        for _ in range(20_000):
            if holds():
                return self.clock.mono() - start
            self.clock.wait(max(self.runner.tick(), 0.01))
        raise AssertionError(f"in vain, in {self.runner.state.phase}")

    def in_phase(self, phase: Phase) -> Callable[[], bool]:
        """Tell whether it is in a phase."""
        return lambda: self.runner.state.phase == phase

    def ends(self) -> list[tuple[int, str, str]]:
        """Return what was reported as ends."""
        outbox = Outbox(self.folder / "agent.db", BOOT, OutboxConfig())
        rows = outbox.read(BOOT, Lane.STATE, 0, max_records=999, max_bytes=1 << 30)
        outbox.close()
        records = [decode_record(body) for _, body in rows]
        return [
            (record.release, record.outcome, record.code)
            for record in records
            if isinstance(record, UpdateRecord) and record.outcome
        ]


@pytest.fixture(scope="module")
def releases() -> tuple[TufRepository, list[MadeRelease]]:
    """Return releases 2 and 3."""
    repository = TufRepository()
    return repository, [make_release(repository, number) for number in (2, 3)]


@pytest.fixture
def bench(
    tmp_path: Path, releases: tuple[TufRepository, list[MadeRelease]]
) -> Iterator[Bench]:
    """Return a device and its hub."""
    repository, made = releases
    blobs = made[0].artifacts | made[1].artifacts
    with artifact_server(blobs) as (url, _):
        yield Bench(tmp_path, url, repository)


Releases = tuple[TufRepository, list[MadeRelease]]


def test_mute_worker_in_shadow_ends_at_its_deadline(
    bench: Bench, releases: Releases
) -> None:
    """A policy's deadline and a grace: then the attempt is over, and nobody blamed."""
    bench.assign(releases[1][0], 2)
    bench.run_until(bench.in_phase(Phase.SHADOW))
    bench.worker.is_mute = True

    took = bench.run_until(lambda: bench.runner.state.phase != Phase.SHADOW)

    least = 500.0 + PairedPolicy().deadline_s + START_S + GRACE_S
    assert least <= took < least + 30.0
    assert bench.ends() == [(2, "failed", "AGENT-UPDATE-063")]
    assert bench.runner.state.quarantined == ()


def test_quiet_device_passes_its_shadow_at_the_deadline(
    bench: Bench, releases: Releases
) -> None:
    """Without a pair it goes on when the policy says, not at the phase's own limit."""
    bench.assign(releases[1][0], 2)
    bench.run_until(bench.in_phase(Phase.SHADOW))
    bench.worker.summary = ShadowSummary(release=2)

    took = bench.run_until(lambda: bench.runner.state.phase != Phase.SHADOW)

    assert took == pytest.approx(500.0, abs=2.0)
    bench.run_until(bench.in_phase(Phase.IDLE))
    assert bench.ends() == [(2, "committed", "")]


def test_superseded_shadow_is_dropped(bench: Bench, releases: Releases) -> None:
    """The worker follows the slot row as soon as the newer assignment is taken up."""
    bench.assign(releases[1][0], 2)
    bench.run_until(lambda: bench.worker.reloads[-1:] == ["SHADOW"])

    bench.assign(releases[1][1], 3, shadow=False)
    bench.runner.tick()

    assert bench.worker.reloads[-1] == "FETCH_META"
    bench.run_until(bench.in_phase(Phase.IDLE))
    assert bench.ends() == [(3, "committed", "")]


@pytest.mark.parametrize("phase", [Phase.ACTIVATE, Phase.PROBATION, Phase.ROLLBACK])
def test_mute_worker_ends_every_later_phase(
    bench: Bench, releases: Releases, phase: Phase
) -> None:
    """No phase waits for ever for a worker that says nothing."""
    bench.assign(releases[1][0], 2, shadow=False)
    if phase is Phase.ROLLBACK:
        bench.run_until(bench.in_phase(Phase.PROBATION))
        bench.runner.on_crash_loop(2)
    else:
        bench.run_until(bench.in_phase(phase))
    bench.worker.is_mute = True

    took = bench.run_until(lambda: bench.runner.state.phase != phase)

    assert took < DEADLINES_S[phase] + GRACE_S
    bench.worker.is_mute = False
    bench.run_until(lambda: bench.runner.is_idle)
    (end,) = bench.ends()
    assert end[:2] == (2, "rolled_back")
    expected = "SAFE_MODE" if phase is Phase.ROLLBACK else "IDLE"
    assert bench.runner.state.phase == expected


def test_safe_mode_with_a_mute_worker_takes_up_an_assignment(
    bench: Bench, releases: Releases
) -> None:
    """Trying the factory model never keeps a release away."""
    bench.slots.write(Slots(phase="SAFE_MODE", quarantined=(9,), seq=1))
    bench.worker.is_mute = True
    bench.runner = bench.make_runner()
    bench.clock.wait(bench.runner.tick())
    assert not bench.runner.is_idle

    bench.assign(releases[1][0], 2)

    assert bench.runner.state.phase == "FETCH_META"


def test_penalty_box_holds_an_assignment_until_its_time_is_over(
    bench: Bench, releases: Releases, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not refused but waits, is said once, and is taken up without a new one."""
    now = bench.clock.wall()
    row = changed(bench.slots.read(), failed_at=(now - 200.0, now - 100.0))
    bench.slots.write(row)
    bench.runner = bench.make_runner()
    assert bench.runner.penalty_until() == pytest.approx(now - 100.0 + PENALTY_S)

    bench.assign(releases[1][0], 2)
    for _ in range(5):
        bench.clock.wait(bench.runner.tick())

    assert (bench.runner.state.phase, bench.runner.state.seq) == ("IDLE", 1)
    assert [r.message for r in caplog.records].count("update.penalty") == 1
    bench.clock.ahead_s += PENALTY_S
    bench.runner.tick()
    assert bench.runner.state.phase == "FETCH_META"
    assert bench.runner.penalty_until() == 0.0


def test_force_opens_the_box(bench: Bench, releases: Releases) -> None:
    """A forced assignment is taken up at once."""
    now = bench.clock.wall()
    bench.slots.write(changed(bench.slots.read(), failed_at=(now - 2.0, now - 1.0)))
    bench.runner = bench.make_runner()

    bench.assign(releases[1][0], 2, forced=True)

    assert bench.runner.state.phase == "FETCH_META"
