"""A TUF repository in memory, signed with real keys, for tests of the agent."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from edge_agent.wire.codec import encode
from edge_agent.wire.control import Assignment, Command, TufBundle
from edge_agent.wire.envelope import Envelope, Purpose, seal
from edge_agent.wire.trust import MIN_RELEASE, SIGNED_AT

T = TypeVar("T", Targets, Snapshot, Timestamp)


class TufRepository:
    """Root, targets, delegated ``models``, snapshot and timestamp, each one key."""

    def __init__(self, expires: datetime | None = None) -> None:
        """Make keys and sign the first, empty set."""
        self.expires = expires or datetime.now(UTC) + timedelta(days=30)
        names = ("root", "targets", "models", "online")
        self.signers = {name: CryptoSigner.generate_ed25519() for name in names}
        self.targets: dict[str, bytes] = {}
        self.version = 0
        self.signed_at: int | None = None
        """What the timestamp says of its time; ``None``: nothing, as older hubs."""
        self.min_release = 0
        self.root_versions: list[bytes] = []
        root = Root(expires=self.expires, consistent_snapshot=True)
        for role, signer in (
            ("root", "root"),
            ("targets", "targets"),
            ("snapshot", "online"),
            ("timestamp", "online"),
        ):
            root.add_key(self.signers[signer].public_key, role)
        self.root = root
        self._sign_root()

    def _sign_root(self) -> None:
        metadata = Metadata(self.root)
        metadata.sign(self.signers["root"])
        self.root_versions.append(metadata.to_bytes())

    def rotate_online_key(self) -> None:
        """Publish a new root in which another key holds the online roles."""
        old = self.signers["online"]
        self.signers["online"] = CryptoSigner.generate_ed25519()
        for role in ("snapshot", "timestamp"):
            self.root.revoke_key(old.public_key.keyid, role)
            self.root.add_key(self.signers["online"].public_key, role)
        self.root.version += 1
        self._sign_root()

    def add(self, files: Mapping[str, bytes]) -> None:
        """Add targets by path."""
        self.targets.update(files)

    def bundle(self, *, models_signer: str = "models") -> TufBundle:
        """Sign everything anew, one version up, and return it as a bundle."""
        self.version += 1
        models = Targets(version=self.version, expires=self.expires)
        for path, data in self.targets.items():
            models.targets[path] = TargetFile.from_data(path, data, ["sha256"])
        key = self.signers["models"].public_key
        role = DelegatedRole("models", [key.keyid], 1, True, paths=["models/*/*/*"])
        top = Targets(
            version=self.version,
            expires=self.expires,
            delegations=Delegations({key.keyid: key}, {"models": role}),
            unrecognized_fields={MIN_RELEASE: self.min_release},
        )
        snapshot = Snapshot(version=self.version, expires=self.expires)
        snapshot.meta = {
            "targets.json": MetaFile(self.version),
            "models.json": MetaFile(self.version),
        }
        timestamp = Timestamp(version=self.version, expires=self.expires)
        timestamp.snapshot_meta = MetaFile(self.version)
        if self.signed_at is not None:
            timestamp.unrecognized_fields[SIGNED_AT] = self.signed_at
        v = self.version
        files = {
            f"{v}.models.json": self._signed(models, models_signer),
            f"{v}.targets.json": self._signed(top, "targets"),
            f"{v}.snapshot.json": self._signed(snapshot, "online"),
            "timestamp.json": self._signed(timestamp, "online"),
        }
        for number, data in enumerate(self.root_versions, start=1):
            files[f"{number}.root.json"] = data.decode()
        return TufBundle(files=files)

    def _signed(self, signed: T, signer: str) -> str:
        metadata = Metadata(signed)
        metadata.sign(self.signers[signer])
        return metadata.to_bytes().decode()

    def sign(self, data: bytes) -> tuple[str, str]:
        """Sign bytes with the online key."""
        signature = self.signers["online"].sign(data)
        return signature.keyid, signature.signature

    def assign(self, assignment: Assignment) -> Envelope:
        """Return a signed assignment."""
        return seal(Purpose.ASSIGNMENT, encode(assignment), self.sign)

    def command(self, command: Command) -> Envelope:
        """Return a signed command."""
        return seal(Purpose.COMMAND, encode(command), self.sign)


def sha256_of(data: bytes) -> str:
    """Return the digest of bytes in hex."""
    return hashlib.sha256(data).hexdigest()
