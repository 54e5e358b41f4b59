"""Making room on a device: what is in use stays, whatever else happens."""

from pathlib import Path

import pytest

from edge_agent.errors import StoreError
from edge_agent.store.artifacts import ArtifactStore
from edge_agent.store.disk import PART_SUFFIX
from tests.fakes.releases import make_release
from tests.fakes.tuf_repository import TufRepository


@pytest.fixture(scope="module")
def repository() -> TufRepository:
    """Return a repository for releases."""
    return TufRepository()


@pytest.fixture
def store(tmp_path: Path, repository: TufRepository) -> ArtifactStore:
    """Return a store with releases 1 to 4."""
    made = ArtifactStore(tmp_path)
    for number in (1, 2, 3, 4):
        release = make_release(repository, number)
        for sha256, data in release.artifacts.items():
            made.path(sha256).write_bytes(data)
            if b'"bundle":' in data:
                made.write_release(number, data)
    return made


def releases(store: ArtifactStore) -> set[int]:
    """Return the releases that can be loaded."""
    found = set()
    for number in (1, 2, 3, 4):
        try:
            store.load_release(number)
        except StoreError:
            continue
        found.add(number)
    return found


def test_active_previous_and_candidate_stay(store: ArtifactStore) -> None:
    """Every other release goes, with the files that only it needs."""
    before = len(list((store.state_dir / "artifacts").iterdir()))

    store.prune((3, 1, 4))

    assert releases(store) == {1, 3, 4}
    assert len(list((store.state_dir / "artifacts").iterdir())) < before


def test_no_release_is_number_0(store: ArtifactStore) -> None:
    """An empty slot keeps nothing and asks for nothing."""
    store.prune((2, 0))

    assert releases(store) == {2}


def test_files_in_use_stay(store: ArtifactStore) -> None:
    """The base of a patch, and what has come of a file, are kept by their digest."""
    base = store.read_release(1).bundle.model.sha256
    part = store.part_path("ab" * 32)
    part.write_bytes(b"half")
    store.part_path("cd" * 32).write_bytes(b"of something else")

    store.prune((2,), (base, "ab" * 32))

    assert store.path(base).exists()
    assert part.exists()
    assert not store.part_path("cd" * 32).exists()


def test_unfinished_download_of_a_kept_release_stays(store: ArtifactStore) -> None:
    """What came of the candidate's files is not fetched again."""
    model = store.read_release(2).bundle.model
    store.path(model.sha256).unlink()
    store.part_path(model.sha256).write_bytes(b"half")

    store.prune((1, 2))

    assert store.part_path(model.sha256).read_bytes() == b"half"


@pytest.mark.parametrize("content", [b"", b"{", b"\xff" * 40])
def test_damaged_manifest_to_be_kept_costs_no_file(
    store: ArtifactStore, content: bytes
) -> None:
    """Nobody knows the files of a damaged manifest, so none goes; old ones do later."""
    path = store.state_dir / "releases" / "1.json"
    good = path.read_bytes()
    path.write_bytes(content)

    store.prune((1, 2))

    assert releases(store) == {2}
    path.write_bytes(good)
    assert releases(store) == {1, 2}
    store.prune((1, 2))
    needed = {
        ref.sha256
        for number in (1, 2)
        for ref in store.read_release(number).bundle.device_files
    }
    left = {path.name for path in (store.state_dir / "artifacts").iterdir()}
    assert left == needed


def test_damaged_manifest_that_is_not_kept_stops_nothing(store: ArtifactStore) -> None:
    """It is removed like any other, and so is what is no manifest."""
    folder = store.state_dir / "releases"
    (folder / "3.json").write_bytes(b"{")
    (folder / f"4.json{PART_SUFFIX}").write_bytes(b"half")
    (folder / "note.json").write_bytes(b"{}")

    store.prune((1,))

    assert [path.name for path in folder.iterdir()] == ["1.json"]
    assert releases(store) == {1}


@pytest.mark.parametrize("stop_after", range(1, 12))
def test_cut_short_it_leaves_what_can_be_loaded(
    store: ArtifactStore, stop_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may end at any file: what is kept is whole, the next call does the rest."""
    real, left = Path.unlink, stop_after

    def unlink(path: Path, *, missing_ok: bool = False) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise PermissionError("the power is cut here")
        real(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    try:
        store.prune((2, 4))
    except StoreError:
        assert {2, 4} <= releases(store)
    monkeypatch.undo()

    store.prune((2, 4))

    assert releases(store) == {2, 4}
    assert not (store.state_dir / "releases" / "1.json").exists()


def test_folder_that_cannot_be_read_is_an_error_with_a_code(
    store: ArtifactStore,
) -> None:
    """What the disk says comes as an error of the store, never as a traceback."""
    (store.state_dir / "artifacts" / "aa").mkdir()

    with pytest.raises(StoreError) as caught:
        store.prune((1,))

    assert caught.value.code == "AGENT-STORE-001"
    assert releases(store) >= {1}
