"""The only holder of keys in the hub: bytes in, signatures out.

Which keys may sign is said by the caller, who reads it in signed metadata; this finds
their files and uses those that can be used. Keys are loaded when first needed, so
reading commands work where keys are not readable. Called by
:mod:`hub.releases.tuf_repo` and :mod:`hub.releases.ceremony`.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TypeVar

from securesystemslib.signer import CryptoSigner, Key
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from hub.errors import DeniedError
from hub.releases.keys import (
    KeyFile,
    Passphrases,
    find_key,
    load_key,
    write_key,
)

AnySigned = TypeVar("AnySigned", Root, Snapshot, Targets, Timestamp)


class Signer:
    """Signs with the keys in some folders; a protected one needs ``passphrases``."""

    def __init__(
        self, folders: Sequence[Path], passphrases: Passphrases | None = None
    ) -> None:
        """Look for key files in ``folders``, in this order."""
        self.folders = tuple(folders)
        self._passphrases = passphrases
        self._loaded: dict[str, CryptoSigner] = {}

    def locate(self, keyid: str) -> KeyFile | None:
        """Return the file of a key, or ``None`` where it is not at hand."""
        return find_key(self.folders, keyid)

    def make(self, folder: Path, role: str, passphrase: bytes | None) -> Key:
        """Make a key, write its file, return its public half; it can sign from now on.

        Raises:
            HubError: It cannot be written (``HUB-KEYS-003``).
        """
        made = write_key(folder, role, passphrase)
        if folder not in self.folders:
            self.folders = (*self.folders, folder)
        self._loaded[made.public_key.keyid] = made
        return made.public_key

    def can_sign(self, keyid: str) -> bool:
        """Tell whether a key is at hand and can be used, without using it."""
        if keyid in self._loaded:
            return True
        file = self.locate(keyid)
        return file is not None and (
            not file.is_protected or self._passphrases is not None
        )

    def require(self, role: str, keyids: Collection[str], threshold: int) -> None:
        """Load ``threshold`` keys of a role; passphrases are asked for here.

        Raises:
            DeniedError: Fewer are at hand (``HUB-KEYS-005``), or can be opened
                (``HUB-KEYS-004``).
            HubError: A key file cannot be read (``HUB-KEYS-002``).
        """
        usable = [keyid for keyid in keyids if self.can_sign(keyid)]
        if len(usable) < threshold:
            raise DeniedError(
                "HUB-KEYS-005",
                f"{threshold} of the {len(keyids)} keys of {role} must sign, and"
                f" {len(usable)} are at hand",
                cure="name the folders that hold them: --offline-keys DIR (repeatable)",
            )
        missing, refusal = threshold, None
        for keyid in usable:
            try:
                self._load(keyid)
            except DeniedError as error:
                refusal = error
            else:
                missing -= 1
            if not missing:
                return
        if refusal is not None:
            raise refusal

    def sign(self, keyid: str, data: bytes) -> str:
        """Sign bytes with a key and return the signature in hex.

        Raises:
            DeniedError: The key is not at hand (``HUB-KEYS-005``).
        """
        if keyid not in self._loaded:
            self.require("online", [keyid], 1)
        return self._loaded[keyid].sign(data).signature

    def sign_metadata(
        self, role: str, signed: AnySigned, keyids: Collection[str], threshold: int
    ) -> Metadata[AnySigned]:
        """Sign metadata with every one of ``keyids`` that can be used.

        Raises:
            DeniedError: They are fewer than ``threshold`` (``HUB-KEYS-005``).
        """
        self.require(role, keyids, threshold)
        metadata = Metadata(signed)
        for keyid in keyids:
            if keyid in self._loaded:
                metadata.sign(self._loaded[keyid], append=True)
        return metadata

    def _load(self, keyid: str) -> None:
        file = self.locate(keyid)
        if keyid in self._loaded or file is None:
            return
        passphrases = self._passphrases(file.path) if self._passphrases else ()
        self._loaded[keyid] = load_key(file.path, passphrases)
