"""``edge-agent tuf``: the metadata client by itself, against files over real HTTP."""

import functools
import hashlib
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.fakes.tuf_repository import TufRepository

TARGET, DATA = "models/m/1/release.json", b'{"release": 1}'


class Server:
    """A folder over HTTP, and what was asked of it."""

    def __init__(self, folder: Path) -> None:
        """Serve ``folder``."""
        asked = self.asked = list[str]()
        self.folder = folder

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_request(self, *_args: object) -> None:
                """Note the path."""
                asked.append(self.path)

            def log_message(self, *_args: object) -> None:
                """Say nothing."""

        handler = functools.partial(Handler, directory=str(folder))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def publish(self, repository: TufRepository) -> None:
        """Write metadata and targets as a web server has them."""
        metadata, targets = self.folder / "metadata", self.folder / "targets"
        metadata.mkdir(exist_ok=True)
        for name, text in repository.bundle().files.items():
            (metadata / name).write_text(text, "utf-8")
        for path, data in repository.targets.items():
            place = targets / path
            place.parent.mkdir(parents=True, exist_ok=True)
            digest = hashlib.sha256(data).hexdigest()
            (place.parent / f"{digest}.{place.name}").write_bytes(data)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Run a web server."""
    folder = tmp_path / "web"
    folder.mkdir()
    made = Server(folder)
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


@pytest.fixture
def repository(server: Server) -> TufRepository:
    """Return a published repository with one target."""
    made = TufRepository()
    made.add({TARGET: DATA})
    server.publish(made)
    return made


class Client:
    """The command with folders of its own."""

    def __init__(self, folder: Path, url: str, root: bytes) -> None:
        """Begin to trust a root."""
        self.metadata, self.targets, self.url = folder / "m", folder / "t", url
        self.targets.mkdir()
        (folder / "given.json").write_bytes(root)
        done = self.run("init", str(folder / "given.json"))
        assert done.returncode == 0, done.stderr

    def refresh(self) -> subprocess.CompletedProcess[str]:
        """Bring metadata up to date."""
        return self.run("refresh", before=("--metadata-url", f"{self.url}/metadata"))

    def download(self, *names: str) -> subprocess.CompletedProcess[str]:
        """Fetch targets."""
        words = [word for name in names for word in ("--target-name", name)]
        words += ["--metadata-url", f"{self.url}/metadata"]
        words += ["--target-base-url", f"{self.url}/targets"]
        words += ["--target-dir", str(self.targets)]
        return self.run("download", before=tuple(words))

    def run(
        self, *words: str, before: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of the group, with options ``before`` it."""
        command = [sys.executable, "-m", "edge_agent", "tuf"]
        place = ("--metadata-dir", str(self.metadata))
        return subprocess.run(
            [*command, *place, *before, *words],
            capture_output=True,
            text=True,
            check=False,
        )


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
