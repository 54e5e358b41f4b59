"""SHADOW with its paired test, and evidence that comes after a commit, on a runner."""

from collections.abc import Callable, Iterator
from dataclasses import replace as changed
from pathlib import Path

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from edge_agent.config import OutboxConfig
from edge_agent.evidence.judge import (
    PairedFigures,
    PairedVerdict,
    Pairing,
    Result,
    Source,
    summarize,
)
from edge_agent.store.artifacts import ArtifactStore
from edge_agent.store.outbox import Outbox
from edge_agent.store.slots import Figures
from edge_agent.update.download import Ways
from edge_agent.update.late_evidence import FIRST_S
from edge_agent.update.metadata import Trust
from edge_agent.update.paired_trial import PairedOutcome, Releases
from edge_agent.update.phases import Phases
from edge_agent.update.runner import UpdateRunner
from edge_agent.update.selftest import Verdict
from edge_agent.update.states import Phase
from edge_agent.update.trials import Trials
from edge_agent.update.worker_port import WorkerFigures
from edge_agent.wire.batch import decode_record
from edge_agent.wire.control import PairedPolicy, ShadowPolicy
from edge_agent.wire.records import ShadowSummary, UpdateRecord
from edge_agent.wire.topics import Lane
from tests.fakes.agent_hub import artifact_server
from tests.fakes.releases import MadeRelease, assign, make_release
from tests.fakes.tuf_repository import TufRepository
from tests.integration.test_agent_runner import BOOT, Bench, ScriptedWorker


class QuietWorker(ScriptedWorker):
    """A worker that has answered as many predictions as a test says."""

    predictions = 100
    sheds = False

    def figures(self) -> WorkerFigures:
        """Return that many."""
        self._check()
        active = self._slots.read().active
        now = Figures(release=active, predictions=self.predictions)
        return WorkerFigures(now=now, before=None, sheds=self.sheds)


class PairedBench(Bench):
    """A device whose paired tests end as a test says, one after the other."""

    def __init__(self, folder: Path, url: str, repository: TufRepository) -> None:
        """Start with release 1 active, and a candidate that is as good."""
        self.ends_with: list[tuple[Result, str, str]] = [(Result.OK, "", "256 samples")]
        self.asked: list[tuple[int, int, PairedPolicy]] = []
        super().__init__(folder, url, repository)
        self.quiet = QuietWorker(self.slots)
        self.worker = self.quiet
        self.runner = self.make_runner()

    def make_runner(self) -> UpdateRunner:
        """Start the agent's update side."""
        trust = Trust(self.folder / "tuf", self.repository.root_versions[0])
        phases = Phases(
            ArtifactStore(self.folder),
            trust,
            self.worker,
            Ways(interrupted=lambda: False),
            Trials(self_test=lambda *_, **__: Verdict(ok=True), paired=self._test),
        )
        runner = UpdateRunner(
            "d1", self.slots, phases, self.clock, on_change=lambda _: None
        )
        runner.recover()
        runner.on_metadata(self.repository.bundle())
        return runner

    def _test(
        self,
        releases: Releases,
        policy: PairedPolicy,
        *,
        interrupted: Callable[[], bool],
    ) -> PairedOutcome | None:
        assert not interrupted()
        self.asked.append((releases.incumbent, releases.candidate, policy))
        result, code, reason = (
            self.ends_with.pop(0) if len(self.ends_with) > 1 else self.ends_with[0]
        )
        verdict = PairedVerdict(result=result, code=code, reason=reason)
        pairing = Pairing(
            candidate=releases.candidate,
            incumbent=releases.incumbent,
            source=Source.RING,
        )
        summary = summarize(PairedFigures(n=9), verdict, pairing)
        return PairedOutcome(verdict=verdict, summary=summary)

    def assign_paired(self, made: MadeRelease, seq: int, *, live: bool = False) -> None:
        """Assign a release with a paired test."""
        policy = ShadowPolicy(min_samples=10, min_s=0.0, deadline_s=50.0)
        wanted = replace(
            assign(made, "d1", seq, self.url),
            paired=PairedPolicy(min_samples=80),
            shadow=policy if live else UNSET,
        )
        self.runner.on_desired(self.repository.assign(wanted))

    def run_to_rest(self, seq: int) -> None:
        """Let time pass until an assignment is carried out."""
        runner = self.runner
        self.run_until(lambda: runner.state.seq == seq and runner.is_idle)

    def records(self) -> list[UpdateRecord]:
        """Return what the hub hears of activations."""
        outbox = Outbox(self.folder / "agent.db", BOOT, OutboxConfig())
        rows = outbox.read(BOOT, Lane.STATE, 0, max_records=999, max_bytes=1 << 30)
        outbox.close()
        found = [decode_record(body) for _, body in rows]
        return [one for one in found if isinstance(one, UpdateRecord)]

    def last(self) -> tuple[int, str, object, str]:
        """Return release, outcome, evidence and code of the newest end."""
        end = [one for one in self.records() if one.outcome][-1]
        return end.release, end.outcome, end.evidence, end.code


@pytest.fixture(scope="module")
def releases() -> tuple[TufRepository, list[MadeRelease]]:
    """Return releases 2 and 3."""
    repository = TufRepository()
    return repository, [make_release(repository, number) for number in (2, 3)]


@pytest.fixture
def bench(
    tmp_path: Path, releases: tuple[TufRepository, list[MadeRelease]]
) -> Iterator[PairedBench]:
    """Return a device and its hub."""
    repository, made = releases
    blobs = made[0].artifacts | made[1].artifacts
    with artifact_server(blobs) as (url, _):
        yield PairedBench(tmp_path, url, repository)


Given = tuple[TufRepository, list[MadeRelease]]


def test_a_candidate_that_fails_never_answers(
    bench: PairedBench, releases: Given
) -> None:
    """It ends in SHADOW with the test's code, its words and its summary."""
    bench.ends_with = [(Result.FAIL, "AGENT-UPDATE-111", "tells nothing")]
    bench.assign_paired(releases[1][0], 2)
    bench.run_to_rest(2)

    end = bench.records()[-1]
    assert (end.outcome, end.code) == ("failed", "AGENT-UPDATE-111")
    assert end.detail == "paired test: tells nothing"
    assert end.paired is not UNSET
    assert (end.paired.result, end.evidence) == ("fail", UNSET)
    assert bench.runner.state.active == 1
    assert bench.runner.state.quarantined == (2,)
    assert [one[:2] for one in bench.asked] == [(1, 2)]
    assert bench.asked[0][2].min_samples == 80


def test_a_good_candidate_is_conclusive(bench: PairedBench, releases: Given) -> None:
    """Paired test and live predictions together are evidence, and nothing less."""
    bench.assign_paired(releases[1][0], 2)
    bench.run_to_rest(2)

    assert bench.last() == (2, "committed", "conclusive", "")
    leaving = [one for one in bench.records() if one.paired is not UNSET]
    assert [one.phase for one in leaving] == ["ACTIVATE"]


def test_a_hub_that_knows_the_live_shadow_only(
    bench: PairedBench, releases: Given
) -> None:
    """The kept samples are asked with the limits of the protocol, then live ones."""
    bench.assign(releases[1][0], 2)
    bench.run_until(bench.in_phase(Phase.SHADOW))
    bench.worker.summary = ShadowSummary(release=2, n=20)
    bench.run_to_rest(2)

    assert bench.asked == [(1, 2, PairedPolicy())]
    assert bench.last() == (2, "committed", "conclusive", "")


def test_without_either_nothing_is_compared(
    bench: PairedBench, releases: Given
) -> None:
    """An older hub hears what it always heard."""
    bench.assign(releases[1][0], 2, shadow=False)
    bench.run_to_rest(2)

    assert bench.asked == []
    assert bench.last() == (2, "committed", UNSET, "")


def test_the_test_is_made_once_and_again_after_a_restart(
    bench: PairedBench, releases: Given
) -> None:
    """While the live shadow goes on its result is kept; a new process repeats it."""
    bench.assign_paired(releases[1][0], 2, live=True)
    bench.run_until(bench.in_phase(Phase.SHADOW))
    bench.worker.summary = ShadowSummary(release=2, n=1)
    for _ in range(5):
        bench.clock.wait(max(bench.runner.tick(), 0.01))
    assert len(bench.asked) == 1

    bench.runner = bench.make_runner()
    bench.run_to_rest(2)
    assert len(bench.asked) == 2


def test_little_evidence_is_said_and_settled_later(
    bench: PairedBench, releases: Given
) -> None:
    """Inconclusive names what was missing; samples that come later settle it."""
    bench.ends_with = [
        (Result.INCONCLUSIVE, "", "12 of 64 samples"),
        (Result.INCONCLUSIVE, "", "40 of 64 samples"),
        (Result.OK, "", "64 samples"),
    ]
    bench.quiet.predictions = 3
    bench.assign_paired(releases[1][0], 2)
    bench.run_to_rest(2)
    assert bench.last() == (2, "committed", "inconclusive", "")
    detail = "paired test: 12 of 64 samples; 3 of 10 predictions"
    assert bench.records()[-1].detail == detail

    bench.quiet.predictions = 50
    bench.run_until(lambda: len(bench.asked) == 2)
    assert bench.runner.state.detail == "paired test: 40 of 64 samples"
    assert bench.last() == (2, "committed", "inconclusive", "")
    bench.runner = bench.make_runner()
    bench.quiet.predictions = 0
    took = bench.run_until(lambda: bench.runner.state.evidence == "conclusive")

    assert took >= FIRST_S
    end = bench.records()[-1]
    assert (end.assignment_seq, end.phase, end.outcome) == (2, "IDLE", "committed")
    assert end.evidence == "conclusive"
    assert end.paired is not UNSET
    told = len(bench.records())
    for _ in range(300):
        bench.clock.wait(max(bench.runner.tick(), 1.0))
    assert (len(bench.records()), len(bench.asked)) == (told, 3)


def test_late_samples_that_speak_against_it_are_told_and_change_nothing(
    bench: PairedBench, releases: Given
) -> None:
    """The hub decides about a release that serves; the device says what it found."""
    bench.ends_with = [
        (Result.INCONCLUSIVE, "", "12 of 64 samples"),
        (Result.FAIL, "AGENT-UPDATE-110", "fails on 9"),
    ]
    bench.assign_paired(releases[1][0], 2)
    bench.run_to_rest(2)
    bench.run_until(lambda: bench.runner.state.evidence == "failed")

    assert bench.last() == (2, "committed", "failed", "AGENT-UPDATE-110")
    assert bench.records()[-1].detail == "paired test: fails on 9"
    assert bench.runner.state.active == 2


def test_a_first_release_is_untested_until_it_answers(
    bench: PairedBench, releases: Given
) -> None:
    """There is nothing to compare it with, and its first answer counts."""
    row = bench.slots.read()
    bench.slots.write(changed(row, active=0, committed=()))
    bench.runner = bench.make_runner()
    bench.quiet.predictions = 0
    bench.assign_paired(releases[1][0], 2)
    bench.run_to_rest(2)
    assert bench.last() == (2, "committed", "untested", "")

    bench.quiet.predictions = 1
    bench.run_until(lambda: bench.runner.state.evidence == "conclusive")
    assert (bench.last(), bench.asked) == ((2, "committed", "conclusive", ""), [])


def test_the_next_assignment_ends_the_looking(
    bench: PairedBench, releases: Given
) -> None:
    """What an older commit rests on is nobody's question any more."""
    bench.ends_with = [(Result.INCONCLUSIVE, "", "12 of 64 samples")]
    bench.assign_paired(releases[1][0], 2)
    bench.run_to_rest(2)
    bench.assign(releases[1][1], 3, shadow=False)
    bench.run_to_rest(3)
    asked = len(bench.asked)
    for _ in range(100):
        bench.clock.wait(max(bench.runner.tick(), 1.0))

    assert len(bench.asked) == asked
    assert bench.last() == (3, "committed", UNSET, "")


def test_a_soft_failure_of_late_samples_must_be_found_twice(
    bench: PairedBench, releases: Given
) -> None:
    """One look at a bad moment reports nothing; two in a row do."""
    soft = (Result.FAIL, "AGENT-UPDATE-113", "takes 3 times as long")
    open_ = (Result.INCONCLUSIVE, "", "12 of 64 samples")
    bench.ends_with = [open_, soft, open_, soft, soft]
    bench.assign_paired(releases[1][0], 2)
    bench.run_to_rest(2)
    bench.run_until(lambda: len(bench.asked) == 4)
    assert bench.runner.state.evidence == "inconclusive"
    bench.run_until(lambda: bench.runner.state.evidence == "failed")

    assert len(bench.asked) == 5
    assert bench.last() == (2, "committed", "failed", "AGENT-UPDATE-113")


def test_predictions_are_counted_over_restarts_of_the_worker(
    bench: PairedBench, releases: Given
) -> None:
    """A worker that begins to count anew takes away nothing that was counted."""
    bench.quiet.predictions = 4
    bench.assign_paired(releases[1][0], 2)
    bench.run_to_rest(2)
    assert bench.last()[2] == "inconclusive"
    bench.clock.wait(max(bench.runner.tick(), 0.01))
    bench.quiet.predictions = 3
    bench.run_until(lambda: bench.runner.state.answered == 7)
    bench.quiet.predictions = 2
    bench.run_until(lambda: bench.runner.state.answered == 9)
    bench.quiet.predictions = 3
    bench.run_until(lambda: bench.runner.state.evidence == "conclusive")
    assert bench.runner.state.answered == 10


def test_a_device_that_sheds_load_begins_no_late_test(
    bench: PairedBench, releases: Given
) -> None:
    """While it is too hot nothing is compared; then the next look is made."""
    bench.ends_with = [
        (Result.INCONCLUSIVE, "", "12 of 64 samples"),
        (Result.OK, "", "64 samples"),
    ]
    bench.assign_paired(releases[1][0], 2)
    bench.run_to_rest(2)
    bench.quiet.sheds = True
    asked = len(bench.asked)
    for _ in range(20):
        bench.clock.wait(FIRST_S)
        bench.runner.tick()
    assert len(bench.asked) == asked
    assert bench.last() == (2, "committed", "inconclusive", "")

    bench.quiet.sheds = False
    bench.run_until(lambda: bench.runner.state.evidence == "conclusive")
    assert len(bench.asked) == asked + 1


@pytest.mark.parametrize("again", [Result.OK, Result.FAIL])
def test_the_retry_of_a_soft_failure_leaves_no_penalty_box(
    bench: PairedBench, releases: Given, again: Result
) -> None:
    """Tried once more by force, it commits or fails: the next release is taken up."""
    code = "AGENT-UPDATE-112"
    second = (again, code if again is Result.FAIL else "", "busy")
    bench.ends_with = [(Result.FAIL, code, "busy"), second, (Result.OK, "", "64")]
    bench.assign_paired(releases[1][0], 2)
    bench.run_to_rest(2)
    assert bench.records()[-1].code == code
    forced = replace(
        assign(releases[1][0], "d1", 3, bench.url),
        paired=PairedPolicy(min_samples=80),
        forced=True,
    )
    bench.runner.on_desired(bench.repository.assign(forced))
    bench.run_to_rest(3)
    ended = "failed" if again is Result.FAIL else "committed"
    assert [one.outcome for one in bench.records() if one.outcome][-1] == ended

    assert bench.runner.penalty_until() == 0.0
    bench.assign_paired(releases[1][1], 4)
    bench.run_to_rest(4)
    assert bench.last()[:2] == (3, "committed")
