"""Key files: ed25519 as PKCS#8 PEM, one a key, readable by their owner only.

Which key holds a role is said by signed metadata alone; a file is only where the
private half of a key lies. So its name has its key id, files of old and new keys lie
side by side while a role changes hands, and no crash can leave metadata and key files
at odds. ``online`` (snapshot, timestamp, assignments, commands) and ``models`` lie in
the hub's home and sign by themselves; ``root`` and ``targets`` lie in a folder of their
own, behind a passphrase, that is meant to be moved away.

Called by :mod:`hub.releases.signer`, the only holder of keys, and by those who list
key files.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner

from hub.errors import DeniedError, HubError
from hub.files import write_durably

ROOT, TARGETS, MODELS, ONLINE = "root", "targets", "models", "online"
KEY_ROLES = (ROOT, TARGETS, MODELS, ONLINE)
OFFLINE_ROLES = (ROOT, TARGETS)
"""Whose keys sign when a person is there, and lie elsewhere otherwise."""

_FOLDER_MODE = 0o700
_FILE_MODE = 0o600
_ID_DIGITS = 16
_NAME = re.compile(rf"^({'|'.join(KEY_ROLES)})(?:-([0-9a-f]{{{_ID_DIGITS}}}))?\.pem\Z")
_ENCRYPTED = b"BEGIN ENCRYPTED PRIVATE KEY"

Passphrases = Callable[[Path], Iterable[bytes]]
"""For a key file, the passphrases to be tried, in this order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFile:
    """Where the private half of a key lies. ``is_protected``: by a passphrase."""

    role: str
    keyid: str
    path: Path
    is_protected: bool


def no_passphrases(_path: Path) -> Iterable[bytes]:
    """Know no passphrase: for what runs unattended."""
    return ()


def write_key(folder: Path, role: str, passphrase: bytes | None) -> CryptoSigner:
    """Make a key and write its file; it is on disk when this returns.

    Raises:
        HubError: It cannot be written (``HUB-KEYS-003``).
    """
    private = Ed25519PrivateKey.generate()
    signer = CryptoSigner(private)
    cipher = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, cipher)
    path = folder / f"{role}-{signer.public_key.keyid[:_ID_DIGITS]}.pem"
    try:
        if not folder.exists():
            folder.mkdir(mode=_FOLDER_MODE, parents=True)
        write_durably(path, pem, mode=_FILE_MODE)
    except OSError as error:
        raise HubError(
            "HUB-KEYS-003",
            f"the key {path} cannot be written: {error}",
            cure="name a folder that can be written: --offline-keys DIR",
        ) from error
    return signer


def list_keys(folder: Path) -> Iterator[KeyFile]:
    """Yield the key files of a folder; other files are nobody's business.

    Raises:
        HubError: One cannot be read (``HUB-KEYS-002``).
    """
    for path in sorted(folder.glob("*.pem")):
        found = _NAME.match(path.name)
        if found is None:
            continue
        data = _read(path)
        yield KeyFile(
            role=found[1],
            keyid=found[2] or load_key(path, ()).public_key.keyid[:_ID_DIGITS],
            path=path,
            is_protected=_ENCRYPTED in data,
        )


def find_key(folders: Iterable[Path], keyid: str) -> KeyFile | None:
    """Return the file of a key, or ``None`` where it is not at hand."""
    for folder in folders:
        for file in list_keys(folder):
            if keyid.startswith(file.keyid):
                return file
    return None


def load_key(path: Path, passphrases: Iterable[bytes]) -> CryptoSigner:
    """Load a key file.

    Raises:
        HubError: It cannot be read, or is no key (``HUB-KEYS-002``).
        DeniedError: No passphrase opens it (``HUB-KEYS-004``).
    """
    data = _read(path)
    try:
        if _ENCRYPTED not in data:
            return CryptoSigner(load_pem_private_key(data, None))
        for passphrase in passphrases:
            try:
                return CryptoSigner(load_pem_private_key(data, passphrase))
            except ValueError:
                continue
    except (ValueError, TypeError) as error:
        raise _unreadable(path, error) from error
    raise DeniedError(
        "HUB-KEYS-004",
        f"the key {path} is protected, and no passphrase that was given opens it",
        cure="give it at a terminal, or with --passphrase-file FILE",
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> HubError:
    return HubError(
        "HUB-KEYS-002",
        f"the key {path} cannot be read: {error}",
        cure="bring it back from a backup, or `hub keys rotate` its role",
    )
