"""The only holder of keys in the hub: bytes in, signatures out.

Keys are loaded when first needed, so reading commands work where keys are not
readable. Called by :mod:`hub.releases.tuf_repo` and :mod:`hub.devices.service`.
"""

from functools import cache
from pathlib import Path
from typing import TypeVar

from securesystemslib.signer import CryptoSigner, Key
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from hub.releases.keys import load_key

AnySigned = TypeVar("AnySigned", Root, Snapshot, Targets, Timestamp)

ROLE_KEYS = {
    "root": "root",
    "targets": "targets",
    "models": "models",
    "snapshot": "online",
    "timestamp": "online",
}
"""The key that signs for each TUF role."""


class Signer:
    """Signs metadata with the key of its role, and envelopes with the online key."""

    def __init__(self, folder: Path) -> None:
        """Use the keys in ``folder``."""

        @cache
        def load(role: str) -> CryptoSigner:
            return load_key(folder, role)

        self._load = load

    def sign(self, data: bytes) -> tuple[str, str]:
        """Sign bytes with the online key; return key id and signature in hex."""
        signature = self._load("online").sign(data)
        return signature.keyid, signature.signature

    def public_key(self, role: str) -> Key:
        """Return the public key of a TUF role."""
        return self._load(ROLE_KEYS[role]).public_key

    def sign_metadata(self, role: str, signed: AnySigned) -> bytes:
        """Sign TUF metadata with the key of its role and return the file's bytes."""
        metadata = Metadata(signed)
        metadata.sign(self._load(ROLE_KEYS[role]))
        return metadata.to_bytes()
