"""One signed file of each TUF role, and the check that a device would make of them.

Pure. Called by :mod:`hub.releases.tuf_repo`, which never writes a set that fails it.
"""

from dataclasses import dataclass
from typing import Any

from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata, Role, Root, Snapshot, Targets, Timestamp

from hub.errors import HubError
from hub.releases.roles import MODELS

TIMESTAMP_FILE = "timestamp.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataSet:
    """One signed file of each role. Nobody changes what is in it."""

    root: Metadata[Root]
    timestamp: Metadata[Timestamp]
    snapshot: Metadata[Snapshot]
    targets: Metadata[Targets]
    models: Metadata[Targets]

    def roles(self) -> dict[str, Metadata[Any]]:
        """Return the files by role, in the order in which they are written."""
        return {
            "root": self.root,
            "targets": self.targets,
            MODELS: self.models,
            "snapshot": self.snapshot,
            "timestamp": self.timestamp,
        }

    def files(self) -> dict[str, Metadata[Any]]:
        """Return the files by name, in that order."""
        return {
            TIMESTAMP_FILE
            if role == "timestamp"
            else f"{metadata.signed.version}.{role}.json": metadata
            for role, metadata in self.roles().items()
        }

    def holders(self, role: str) -> Role:
        """Return who may sign for a role: key ids and threshold."""
        delegator = self.targets.signed if role == MODELS else self.root.signed
        return delegator.get_delegated_role(role)

    def verify(self, older: Root | None = None) -> None:
        """Check every signature as a client does that trusts ``older``.

        Raises:
            HubError: A role is not signed by the keys that may (``HUB-TUF-003``).
        """
        root, targets = self.root.signed, self.targets.signed
        chain: tuple[tuple[Root | Targets, str, Metadata[Any]], ...] = (
            (older or root, "root", self.root),
            (root, "root", self.root),
            (root, "timestamp", self.timestamp),
            (root, "snapshot", self.snapshot),
            (root, "targets", self.targets),
            (targets, MODELS, self.models),
        )
        try:
            for delegator, role, signed in chain:
                delegator.verify_delegate(role, signed.signed_bytes, signed.signatures)
        except UnsignedMetadataError as error:
            raise HubError(
                "HUB-TUF-003", f"no device would take this metadata: {error}"
            ) from error
