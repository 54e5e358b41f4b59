"""Somebody who holds the broker, and as many of a hub's keys as a test gives him.

He changes signed metadata as he likes and signs it with what he has; the result is a
bundle as the broker would deliver it.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata

from edge_agent.wire import codec
from edge_agent.wire.control import Assignment, Command, TufBundle
from edge_agent.wire.envelope import Envelope, Purpose, seal
from hub.releases.keys import list_keys, load_key

Change = Callable[[Any], None]


def steal(folder: Path, role: str, passphrase: bytes = b"") -> list[CryptoSigner]:
    """Copy the keys of a role from a folder."""
    return [
        load_key(file.path, [passphrase])
        for file in list_keys(folder)
        if file.role == role
    ]


class Thief:
    """Forges a bundle, starting from one that he saw."""

    def __init__(self, seen: TufBundle) -> None:
        """Take what the broker delivers to anybody."""
        self.files = dict(seen.files)

    def newest(self, role: str) -> Metadata[Any]:
        """Return the newest metadata of a role among his files."""
        if role == "timestamp":
            return self._read("timestamp.json")
        names = [name for name in self.files if name.endswith(f".{role}.json")]
        return self._read(max(names, key=lambda name: int(name.split(".")[0])))

    def forge(self, role: str, change: Change, keys: Iterable[CryptoSigner]) -> "Thief":
        """Change the newest metadata of a role, one version up, and sign it."""
        metadata = self.newest(role)
        metadata.signed.version += 1
        change(metadata.signed)
        metadata.signatures.clear()
        for key in keys:
            metadata.sign(key, append=True)
        version = metadata.signed.version
        name = f"{role}.json" if role == "timestamp" else f"{version}.{role}.json"
        self.files[name] = metadata.to_bytes().decode()
        return self

    def lead_to(self, online: Iterable[CryptoSigner], **versions: int) -> "Thief":
        """Sign a snapshot of the newest roles (or these versions) and its timestamp."""
        keys = list(online)

        def name_versions(snapshot: Any) -> None:  # noqa: ANN401 - TUF's
            for role in ("targets", "models"):
                newest = self.newest(role).signed.version
                meta = snapshot.meta[f"{role}.json"]
                meta.version = versions.get(role, newest)

        def name_snapshot(timestamp: Any) -> None:  # noqa: ANN401 - TUF's
            timestamp.snapshot_meta.version = self.newest("snapshot").signed.version

        self.forge("snapshot", name_versions, keys)
        return self.forge("timestamp", name_snapshot, keys)

    def bundle(self) -> TufBundle:
        """Return what he publishes."""
        return TufBundle(files=self.files)

    def _read(self, name: str) -> Metadata[Any]:
        return Metadata.from_bytes(self.files[name].encode())


def forge_assignment(assignment: Assignment, key: CryptoSigner) -> Envelope:
    """Sign an assignment with a stolen key."""
    return seal(Purpose.ASSIGNMENT, codec.encode(assignment), _signs(key))


def forge_command(command: Command, key: CryptoSigner) -> Envelope:
    """Sign a command with a stolen key."""
    return seal(Purpose.COMMAND, codec.encode(command), _signs(key))


def _signs(key: CryptoSigner) -> Callable[[bytes], tuple[str, str]]:
    def sign(data: bytes) -> tuple[str, str]:
        signature = key.sign(data)
        return signature.keyid, signature.signature

    return sign
