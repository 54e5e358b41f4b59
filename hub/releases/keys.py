"""The hub's keys: one ed25519 key a role, each in a file that only its owner reads.

``online`` signs snapshot and timestamp metadata, assignments and commands. Only
:mod:`hub.releases.signer` reads them.
"""

from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner

from hub.errors import ConflictError, HubError
from hub.files import write_durably

ROLES = ("root", "targets", "models", "online")

_FOLDER_MODE = 0o700
_FILE_MODE = 0o600


def create_keys(folder: Path) -> None:
    """Create one key for each role.

    Raises:
        ConflictError: A key is there already (``HUB-KEYS-001``).
    """
    folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    folder.chmod(_FOLDER_MODE)
    for role in ROLES:
        if _file(folder, role).exists():
            raise ConflictError(
                "HUB-KEYS-001",
                f"there is a key {_file(folder, role)} already",
                cure="keys are never overwritten: choose another home folder",
            )
    for role in ROLES:
        key = CryptoSigner.generate_ed25519()
        write_durably(_file(folder, role), key.private_bytes, mode=_FILE_MODE)


def load_key(folder: Path, role: str) -> CryptoSigner:
    """Load the key of a role.

    Raises:
        HubError: It cannot be read (``HUB-KEYS-002``).
    """
    path = _file(folder, role)
    try:
        return CryptoSigner(load_pem_private_key(path.read_bytes(), None))
    except (OSError, ValueError, TypeError) as error:
        raise HubError(
            "HUB-KEYS-002",
            f"the key {path} cannot be read: {error}",
            cure="`hub init` creates the keys of a new home folder",
        ) from error


def _file(folder: Path, role: str) -> Path:
    return folder / f"{role}.pem"
