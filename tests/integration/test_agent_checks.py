"""Checks between metadata and activation: each alone holds where the others do not."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from edge_agent.errors import StoreError
from edge_agent.store.artifacts import ArtifactStore
from edge_agent.store.slots import SlotStore
from edge_agent.update.commands import LAST_ID, Commands
from edge_agent.update.inbox import OldAssignmentError
from edge_agent.update.metadata import Trust
from edge_agent.update.states import Phase
from edge_agent.wire.codec import decode, encode
from edge_agent.wire.control import Command, StopCollecting
from edge_agent.wire.manifest import Release
from tests.fakes.agent_hub import artifact_server
from tests.fakes.releases import MadeRelease, assign, make_release
from tests.fakes.tuf_repository import TufRepository, sha256_of
from tests.integration.test_agent_runner import Bench


@pytest.fixture(scope="module")
def made() -> tuple[TufRepository, list[MadeRelease]]:
    """Return releases 2, 3 and 4."""
    repository = TufRepository()
    return repository, [make_release(repository, number) for number in (2, 3, 4)]


@pytest.fixture
def bench(
    tmp_path: Path, made: tuple[TufRepository, list[MadeRelease]]
) -> Iterator[Bench]:
    """Return a device whose hub serves all of release 2 and 3, and 4's manifest."""
    repository, releases = made
    blobs = releases[0].artifacts | releases[1].artifacts
    blobs |= {k: v for k, v in releases[2].artifacts.items() if b'"bundle":' in v}
    with artifact_server(blobs) as (url, _):
        yield Bench(tmp_path, url, repository)


Releases = tuple[TufRepository, list[MadeRelease]]


def commit(bench: Bench, release: MadeRelease, seq: int) -> None:
    """Bring a release to its commit."""
    bench.assign(release, seq, shadow=False)
    bench.run_until(lambda: bench.runner.state.seq == seq and bench.runner.is_idle)
    assert bench.runner.state.active == release.number


def test_the_release_before_stays_loadable(bench: Bench, made: Releases) -> None:
    """After a commit, and while the next one is on its way; what nobody needs goes."""
    store = ArtifactStore(bench.folder)
    commit(bench, made[1][0], 2)
    commit(bench, made[1][1], 3)
    leftover = store.path("f" * 64)
    leftover.write_bytes(b"of an attempt that was given up")
    assert bench.runner.state.previous == 2
    assert store.load_release(2).release.release == 2

    bench.assign(made[1][2], 4, shadow=False)
    bench.run_until(lambda: bench.runner.obstacles.present is not None)

    assert bench.runner.state.phase == Phase.DOWNLOAD
    assert store.read_release(4).release == 4
    assert not leftover.exists()
    for number in (2, 3):
        assert store.load_release(number).release.release == number


def test_a_file_that_breaks_after_its_download_is_nobodys_fault(
    bench: Bench, made: Releases
) -> None:
    """VERIFY finds it and drops it; the release is not condemned for the disk."""
    store = ArtifactStore(bench.folder)
    bench.assign(made[1][0], 2, shadow=False)
    bench.run_until(bench.in_phase(Phase.VERIFY))
    model = store.read_release(2).bundle.model
    whole = store.path(model.sha256).read_bytes()
    store.path(model.sha256).write_bytes(whole[:-1] + b"\x01")

    bench.run_until(bench.in_phase(Phase.IDLE))

    assert bench.ends() == [(2, "failed", "AGENT-UPDATE-019")]
    assert bench.runner.state.quarantined == ()
    assert not store.path(model.sha256).exists()
    commit(bench, made[1][0], 3)


def other_number(release: Release) -> Release:
    """Say that it is another release."""
    return replace(release, release=release.release + 1)


def newer_form(release: Release) -> Release:
    """Be of a form that this agent does not know."""
    return replace(release, bundle=replace(release.bundle, format=2))


def other_model(release: Release) -> Release:
    """Name another model than the one that is signed beside."""
    model = replace(release.bundle.model, sha256="e" * 64)
    return replace(release, bundle=replace(release.bundle, model=model))


def unsigned_model(release: Release) -> Release:
    """Name a file that nobody signed."""
    model = replace(release.bundle.model, name="other.tflite")
    return replace(release, bundle=replace(release.bundle, model=model))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (other_number, "AGENT-UPDATE-016"),
        (newer_form, "AGENT-UPDATE-017"),
        (other_model, "AGENT-UPDATE-018"),
        (unsigned_model, "AGENT-UPDATE-015"),
    ],
)
def test_a_signed_manifest_must_fit_what_is_signed_and_assigned(
    tmp_path: Path, change: Callable[[Release], Release], code: str
) -> None:
    """A mistake of the signer: refused before a single file of it is fetched."""
    repository = TufRepository()
    release = make_release(repository, 2)
    manifest = repository.targets[release.target]
    wrong = encode(change(decode(manifest, Release)))
    repository.add({release.target: wrong})
    blobs = {**release.artifacts, sha256_of(wrong): wrong}
    with artifact_server(blobs) as (url, asked):
        bench = Bench(tmp_path, url, repository)
        bench.assign(release, 2, shadow=False)
        bench.run_until(bench.in_phase(Phase.IDLE))
    assert bench.ends() == [(2, "failed", code)]
    assert len(asked) == 1
    assert bench.runner.state.active == 1


def test_nothing_is_done_that_the_journal_does_not_say(
    bench: Bench, made: Releases
) -> None:
    """A disk that takes nothing: no new state, no work; it goes on when it does."""
    before, reloads = bench.runner.state, len(bench.worker.reloads)
    bench.slots._conn.execute("PRAGMA query_only = 1")
    with pytest.raises(StoreError):
        bench.assign(made[1][0], 2, shadow=False)
    assert bench.runner.state == before == bench.slots.read()
    assert bench.runner.is_idle

    bench.slots._conn.execute("PRAGMA query_only = 0")
    bench.run_until(bench.in_phase(Phase.SELF_TEST))
    bench.slots._conn.execute("PRAGMA query_only = 1")
    with pytest.raises(StoreError):
        bench.runner.tick()
    assert bench.slots.read() == bench.runner.state
    assert len(bench.worker.reloads) == reloads
    bench.slots._conn.execute("PRAGMA query_only = 0")
    bench.run_until(lambda: bench.runner.state.seq == 2 and bench.runner.is_idle)
    assert bench.runner.state.active == 2


def test_what_the_worker_says_it_answers_with_counts(
    bench: Bench, made: Releases
) -> None:
    """A worker that stays with another release has not activated, nor gone back."""
    bench.assign(made[1][0], 2, shadow=False)
    bench.run_until(bench.in_phase(Phase.ACTIVATE))
    assert bench.runner.state.baseline is not None
    assert bench.runner.state.baseline.release == 1
    assert bench.runner.state.baseline.predictions == 100
    bench.worker.stuck = 1
    bench.run_until(lambda: bench.runner.is_idle)
    assert bench.ends() == [(2, "rolled_back", "AGENT-UPDATE-055")]
    assert bench.runner.state.active == 1

    bench.worker.stuck = None
    bench.assign(made[1][1], 3, shadow=False)
    bench.run_until(bench.in_phase(Phase.PROBATION))
    bench.worker.stuck = 3
    bench.runner.on_crash_loop(3)
    bench.run_until(lambda: bench.runner.state.phase != Phase.ROLLBACK)
    assert bench.runner.state.phase == Phase.SAFE_MODE


def test_an_older_assignment_in_a_folder_is_a_conflict(
    bench: Bench, made: Releases
) -> None:
    """The agent looks for itself, whatever the command has checked."""
    commit(bench, made[1][0], 3)
    wanted = assign(made[1][1], "d1", 2, bench.url)
    with pytest.raises(OldAssignmentError, match="AGENT-UPDATE-092"):
        bench.runner.on_folder(
            bench.repository.bundle(), bench.repository.assign(wanted)
        )
    assert (bench.runner.state.seq, bench.runner.state.active) == (3, 2)


@pytest.mark.parametrize("late", [False, True])
def test_a_command_that_has_expired_is_dropped(tmp_path: Path, *, late: bool) -> None:
    """It is over for good: its number is remembered, and it is never carried out."""
    repository = TufRepository()
    trust = Trust(tmp_path / "tuf", repository.root_versions[0])
    done: list[Command] = []
    slots = SlotStore(tmp_path / "agent.db", "a" * 16)
    commands = Commands("d1", slots, trust.verify, done.append)
    command = Command(device="d1", id=7, expires_at=100.0, action=StopCollecting())
    commands.on_command(repository.command(command), 101.0 if late else 99.0)
    commands.tick(99.0)
    assert len(done) == int(not late)
    assert slots.read_number(LAST_ID) == 7
    slots.close()
