"""The published metadata under a real TUF client, and crashes while publishing."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tuf.api.exceptions import DownloadHTTPError, RepositoryError
from tuf.api.metadata import Metadata, Timestamp
from tuf.ngclient import FetcherInterface, Updater

from edge_agent.wire.control import TufBundle
from edge_agent.wire.trust import read_signed_at
from hub.files import write_durably
from hub.releases.signer import Signer
from hub.releases.tuf_repo import TargetRef, TufRepo
from tests.hub_keys import new_holders

NOW = datetime.now(UTC)
FIRST = TargetRef(path="models/tiny/1/release.json", sha256="a" * 64, length=10)
SECOND = TargetRef(path="models/tiny/2/release.json", sha256="b" * 64, length=20)


class BundleFetcher(FetcherInterface):
    """Serves metadata out of the bundle, as the device does."""

    def __init__(self, bundle: TufBundle) -> None:
        """Serve one bundle."""
        self._files = bundle.files

    def _fetch(self, url: str) -> Iterator[bytes]:
        text = self._files.get(url.rpartition("/")[2])
        if text is None:
            raise DownloadHTTPError("not found", 404)
        yield text.encode()


@pytest.fixture
def keys(tmp_path: Path) -> Signer:
    """Return a signer; its keys are made with a repository."""
    return Signer([tmp_path / "keys"])


def find(folder: Path, bundle: TufBundle, root: bytes, path: str) -> str | None:
    """Ask a real client for a target; return its sha256."""
    folder.mkdir(exist_ok=True)
    updater = Updater(
        str(folder), "http://bundle/", fetcher=BundleFetcher(bundle), bootstrap=root
    )
    info = updater.get_targetinfo(path)
    return info.hashes["sha256"] if info else None


def test_a_client_finds_what_was_published_and_nothing_else(
    tmp_path: Path, keys: Signer
) -> None:
    """Targets of the models role are authentic; other paths and older ones are not."""
    repo = TufRepo(tmp_path / "tuf", keys)
    root = repo.create(new_holders(keys), NOW)
    repo.publish([FIRST], NOW)
    cache = tmp_path / "device"

    assert find(cache, repo.bundle(), root, FIRST.path) == FIRST.sha256
    assert find(cache, repo.bundle(), root, SECOND.path) is None

    repo.publish([SECOND], NOW)

    assert find(cache, repo.bundle(), root, SECOND.path) == SECOND.sha256
    assert find(cache, repo.bundle(), root, FIRST.path) is None


@pytest.mark.parametrize(
    "path", ["agent/package.whl", "agent/package/1/a.whl", "models/a", "models/a/b/c/d"]
)
def test_paths_outside_the_models_are_never_authentic(
    tmp_path: Path, keys: Signer, path: str
) -> None:
    """The models key cannot sign for anything but models."""
    repo = TufRepo(tmp_path / "tuf", keys)
    root = repo.create(new_holders(keys), NOW)
    package = TargetRef(path=path, sha256="c" * 64, length=1)
    repo.publish([package], NOW)

    assert find(tmp_path / "device", repo.bundle(), root, package.path) is None


def test_the_hubs_time_is_in_every_timestamp(tmp_path: Path, keys: Signer) -> None:
    """Devices take it as the floor under their clock."""
    repo = TufRepo(tmp_path / "tuf", keys)
    repo.create(new_holders(keys), NOW)
    for days in (0, 1, 2):
        now = NOW + timedelta(days=days)
        repo.publish([FIRST], now) if days < 2 else repo.refresh(now)
        timestamp = Metadata[Timestamp].from_bytes(
            repo.bundle().files["timestamp.json"].encode()
        )
        fields = timestamp.signed.unrecognized_fields
        assert read_signed_at(fields) == int(now.timestamp())


@pytest.mark.parametrize(
    "name",
    ["timestamp.json", "2.snapshot.json", "1.targets.json", "2.models.json"],
)
def test_tampered_metadata_is_refused(tmp_path: Path, keys: Signer, name: str) -> None:
    """One changed byte in any signed file and the client stops."""
    repo = TufRepo(tmp_path / "tuf", keys)
    root = repo.create(new_holders(keys), NOW)
    repo.publish([FIRST], NOW)
    files = dict(repo.bundle().files)
    files[name] = files[name].replace('"spec_version":"1', '"spec_version": "1')
    files[name] = files[name].replace('"version":', '"version":1')

    with pytest.raises(RepositoryError):
        find(tmp_path / "device", TufBundle(files=files), root, FIRST.path)


def test_the_metadata_of_another_hub_is_refused(tmp_path: Path, keys: Signer) -> None:
    """A device trusts only the root that it was given."""
    TufRepo(tmp_path / "tuf", keys).create(new_holders(keys), NOW)
    others = Signer([tmp_path / "other-keys"])
    other = TufRepo(tmp_path / "other", others)
    other.create(new_holders(others), NOW)
    other.publish([FIRST], NOW)
    root = (tmp_path / "tuf" / "1.root.json").read_bytes()

    with pytest.raises(RepositoryError):
        find(tmp_path / "device", other.bundle(), root, FIRST.path)


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_a_crash_while_publishing_leaves_the_old_set_valid(
    tmp_path: Path, keys: Signer, writes: int
) -> None:
    """Until the timestamp is written, clients see the old set; then publishing goes."""
    folder = tmp_path / "tuf"
    repo = TufRepo(folder, keys)
    root = repo.create(new_holders(keys), NOW)
    repo.publish([FIRST], NOW)
    left = writes

    def crashing(path: Path, data: bytes) -> None:
        nonlocal left
        if left == 0:
            raise KeyboardInterrupt
        left -= 1
        write_durably(path, data)

    with pytest.raises(KeyboardInterrupt):
        TufRepo(folder, keys, write=crashing).publish([SECOND], NOW)

    cache = tmp_path / "device"
    assert find(cache, repo.bundle(), root, FIRST.path) == FIRST.sha256
    assert find(cache, repo.bundle(), root, SECOND.path) is None

    repo.publish([SECOND], NOW)

    assert find(cache, repo.bundle(), root, SECOND.path) == SECOND.sha256


def test_what_grows_old_is_signed_again(tmp_path: Path, keys: Signer) -> None:
    """The timestamp daily, the other roles before they expire; targets stay."""
    repo = TufRepo(tmp_path / "tuf", keys)
    repo.create(new_holders(keys), NOW)
    repo.publish([FIRST], NOW)
    version = repo.version()

    assert not repo.refresh(NOW + timedelta(hours=23))
    assert repo.refresh(NOW + timedelta(hours=25))
    assert repo.version() == version + 1
    assert not repo.refresh(NOW + timedelta(hours=26))
    assert repo.refresh(NOW + timedelta(days=340))
    assert not repo.refresh(NOW + timedelta(days=340, hours=1))
    assert repo.targets() == {FIRST.path: FIRST.sha256}
    assert len(repo.bundle().files) == 5


def test_keys_are_readable_by_their_owner_only(tmp_path: Path, keys: Signer) -> None:
    """Files of mode 0600 in a folder of mode 0700."""
    new_holders(keys)
    folder = tmp_path / "keys"

    assert folder.stat().st_mode & 0o777 == 0o700
    assert {p.stat().st_mode & 0o777 for p in folder.iterdir()} == {0o600}
