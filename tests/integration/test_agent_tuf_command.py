"""``edge-agent tuf``: the metadata client by itself, against files over real HTTP."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.fakes.tuf_command import Client, Server, running_server
from tests.fakes.tuf_repository import TufRepository

TARGET, DATA = "models/m/1/release.json", b'{"release": 1}'


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Run a web server."""
    with running_server(tmp_path / "web") as made:
        yield made


@pytest.fixture
def repository(server: Server) -> TufRepository:
    """Return a published repository with one target."""
    made = TufRepository()
    made.add({TARGET: DATA})
    server.publish(made)
    return made


@pytest.fixture
def client(tmp_path: Path, server: Server, repository: TufRepository) -> Client:
    """Return a client that trusts the repository's first root."""
    return Client(tmp_path, server.url, repository.root_versions[0])


def test_metadata_is_kept_under_plain_names(client: Client) -> None:
    """Init asks for nothing; refresh leaves each role's newest file."""
    assert client.refresh().returncode == 0

    for role in ("root", "timestamp", "snapshot", "targets"):
        assert (client.metadata / f"{role}.json").exists()


def test_a_target_is_verified_and_fetched_once(client: Client, server: Server) -> None:
    """The second time the file that is there is enough."""
    assert client.download(TARGET).returncode == 0
    (file,) = client.targets.iterdir()
    assert file.read_bytes() == DATA
    before = sum("/targets/" in path for path in server.asked)

    assert client.download(TARGET).returncode == 0

    assert sum("/targets/" in path for path in server.asked) == before == 1


def test_rotated_keys_are_followed(
    client: Client, server: Server, repository: TufRepository
) -> None:
    """Each root vouches for the next, from the one that was given."""
    assert client.refresh().returncode == 0
    for _ in range(3):
        repository.rotate_online_key()
    server.publish(repository)

    assert client.refresh().returncode == 0
    assert (client.metadata / "root.json").read_bytes() == repository.root_versions[-1]


def test_what_does_not_verify_is_refused_with_one(
    client: Client, server: Server, repository: TufRepository
) -> None:
    """Expired metadata, an older set, a changed target and an unknown one."""
    assert client.refresh().returncode == 0
    older = {p.name: p.read_bytes() for p in (server.folder / "metadata").iterdir()}
    assert client.download("models/m/9/none").returncode == 1
    digest = hashlib.sha256(DATA).hexdigest()
    file = server.folder / "targets" / "models/m/1" / f"{digest}.release.json"
    file.write_bytes(b"x" * len(DATA))
    changed = client.download(TARGET)
    assert changed.returncode == 1
    assert "AGENT-TUF-002" in changed.stderr
    assert list(client.targets.iterdir()) == []

    repository.expires = datetime.now(UTC) - timedelta(days=1)
    server.publish(repository)
    assert "Expired" in client.refresh().stderr
    repository.expires = datetime.now(UTC) + timedelta(days=1)
    server.publish(repository)
    assert client.refresh().returncode == 0
    for name, data in older.items():
        (server.folder / "metadata" / name).write_bytes(data)
    assert "BadVersionNumber" in client.refresh().stderr


def test_what_is_missing_on_the_command_line_is_named(
    client: Client, tmp_path: Path
) -> None:
    """A root that is not there is said in one line, without a traceback."""
    done = client.run("init", str(tmp_path / "none.json"))
    bare = client.run("refresh")

    assert (done.returncode, "AGENT-TUF-001" in done.stderr) == (1, True)
    assert (bare.returncode, "--metadata-url" in bare.stderr) == (2, True)
