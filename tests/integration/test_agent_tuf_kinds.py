"""``edge-agent tuf`` on what our hub never makes: other keys, delegations, names."""

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from securesystemslib.signer import CryptoSigner, Key
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from tests.fakes.tuf_command import Client, Server, running_server

LATER = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
EARLY, LATE = "a/early.bin", "b/late.bin"
"""Two targets whose path's hashes begin differently."""
BINS = "bins of/ü"
ODD = "odd name/ä+b&c.bin"


class Repository:
    """Root signed by ECDSA, the rest by RSA; a role for each of some patterns."""

    def __init__(self, server: Server) -> None:
        """Publish it."""
        self.server = server
        self.ecdsa, self.rsa = (
            CryptoSigner.generate_ecdsa(),
            CryptoSigner.generate_rsa(),
        )
        self.edward = CryptoSigner.generate_ed25519()
        self.content = {name: name.encode() for name in (EARLY, LATE, ODD)}
        root = Root(expires=LATER, consistent_snapshot=True)
        root.add_key(self.ecdsa.public_key, "root")
        for role in ("targets", "snapshot", "timestamp"):
            root.add_key(self.rsa.public_key, role)
        self.root = Metadata(root)
        self.root.sign(self.ecdsa)
        self.bins = Targets(
            expires=LATER, targets={EARLY: self._file(EARLY), LATE: self._file(LATE)}
        )
        self.odd = Targets(expires=LATER, targets={ODD: self._file(ODD)})
        self.publish(prefix=hashlib.sha256(EARLY.encode()).hexdigest()[:4])

    def publish(self, *, prefix: str) -> None:
        """Write a set in which one role has the paths whose hash begins like this."""
        keys: dict[str, Key] = {
            signer.public_key.keyid: signer.public_key for signer in self.signers
        }
        bins = DelegatedRole(
            BINS, [self.edward.public_key.keyid], 1, False, path_hash_prefixes=[prefix]
        )
        odd = DelegatedRole(
            "odd", [self.ecdsa.public_key.keyid], 1, True, paths=["odd*/*.bin"]
        )
        top = Targets(
            expires=LATER, delegations=Delegations(keys, {BINS: bins, "odd": odd})
        )
        named = {"targets": top, BINS: self.bins, "odd": self.odd}
        snapshot = Snapshot(
            expires=LATER, meta={f"{name}.json": MetaFile(1) for name in named}
        )
        self._write("timestamp", Timestamp(expires=LATER), self.rsa, version="")
        self._write("snapshot", snapshot, self.rsa)
        for name, signed in named.items():
            signer = {BINS: self.edward, "odd": self.ecdsa}.get(name, self.rsa)
            self._write(name, signed, signer)
        for path, data in self.content.items():
            folder, _, name = path.rpartition("/")
            place = self.server.folder / "targets" / folder
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{hashlib.sha256(data).hexdigest()}.{name}").write_bytes(data)

    @property
    def signers(self) -> list[CryptoSigner]:
        """All keys."""
        return [self.ecdsa, self.rsa, self.edward]

    def _file(self, path: str) -> TargetFile:
        return TargetFile.from_data(path, self.content[path], ["sha256"])

    def _write(
        self,
        role: str,
        signed: Signed,
        signer: CryptoSigner,
        version: str = "1.",
    ) -> None:
        metadata: Metadata[Any] = Metadata(signed)
        metadata.sign(signer)
        folder = self.server.folder / "metadata"
        file = folder / f"{version}{role}.json"  # As a web server finds it.
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(metadata.to_bytes())


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Run a web server."""
    with running_server(tmp_path / "web") as made:
        yield made


@pytest.fixture
def repository(server: Server) -> Repository:
    """Return a published repository."""
    return Repository(server)


@pytest.fixture
def client(tmp_path: Path, server: Server, repository: Repository) -> Client:
    """Return a client that trusts its root."""
    return Client(tmp_path, server.url, repository.root.to_bytes())


def test_rsa_and_ecdsa_keys_verify(client: Client) -> None:
    """With `cryptography` installed; all roles below root are signed by RSA."""
    done = client.refresh()
    assert done.returncode == 0, done.stderr
    assert {path.name for path in client.metadata.glob("*.json")} == {
        *("root.json", "timestamp.json", "snapshot.json", "targets.json")
    }


def test_without_cryptography_they_do_not(client: Client) -> None:
    """A key that cannot be checked vouches for nothing; ed25519 needs no library."""
    code = (
        "import sys; sys.modules['cryptography'] = None;"
        "from edge_agent.cli import main; main()"
    )
    words = ["tuf", "--metadata-dir", str(client.metadata)]
    words += ["--metadata-url", f"{client.url}/metadata", "refresh"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "AGENT-TUF-002" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_role_has_the_paths_whose_hash_begins_as_its_prefixes(
    client: Client,
) -> None:
    """It vouches for one of its two targets: the other is not its to sign."""
    done = client.download(EARLY)
    assert done.returncode == 0, done.stderr
    assert (client.metadata / f"{quote(BINS, '')}.json").exists()
    (file,) = client.targets.iterdir()
    assert file.read_bytes() == EARLY.encode()
    late = client.download(LATE)
    assert (late.returncode, "AGENT-TUF-003" in late.stderr) == (1, True)


def test_patterns_and_odd_names(client: Client, server: Server) -> None:
    """Spaces, letters and signs arrive, and a target's file is one name."""
    done = client.download(ODD)
    assert done.returncode == 0, done.stderr
    (file,) = client.targets.iterdir()
    assert (file.name, file.read_bytes()) == (quote(ODD, ""), ODD.encode())
    assert not any("bins" in path for path in server.asked)


def test_names_repeat_and_the_first_failure_ends_it(
    client: Client, server: Server
) -> None:
    """Targets come in the order of the command line; what came before stays."""
    done = client.download(ODD, EARLY, "none", LATE)
    assert done.returncode == 1
    assert "no role vouches for none" in done.stderr
    names = {path.name for path in client.targets.iterdir()}
    assert names == {quote(ODD, ""), quote(EARLY, "")}
    assert client.download(EARLY, ODD).returncode == 0
    assert sum("/targets/" in path for path in server.asked) == 2


def test_what_is_wrong_is_said_in_words(tmp_path: Path, client: Client) -> None:
    """No trust yet, no URL, nobody there: code 1, a reason, no traceback."""
    command = [sys.executable, "-m", "edge_agent", "tuf", "--metadata-dir"]
    for folder, url, said in (
        (tmp_path / "new", client.url, "AGENT-TUF-001: nothing is trusted"),
        (client.metadata, "hub.example", "is no http:// or https:// URL"),
        (client.metadata, "http://127.0.0.1:1", "Connection refused"),
    ):
        done = subprocess.run(
            [*command, str(folder), "--metadata-url", url, "refresh"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert said in done.stderr
        assert "Traceback" not in done.stderr
