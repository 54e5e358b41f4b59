"""What a backup is: a folder like a home, its manifest, and its keys beside it.

``BACKUP/`` holds ``hub.db``, ``hub.toml``, ``root.json``, ``ca.pem``, ``tuf/``,
``artifacts/``, ``releases/N/`` and ``manifest.json``, which names all of them with
their digests. The private keys are in one encrypted file of its own
(:mod:`hub.backup.sealed`), by default ``BACKUP.keys``, so that the two can lie in
different places.
"""

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from edge_agent.wire import codec
from edge_agent.wire.errors import WireError
from edge_agent.wire.types import Count, Instant, Message, Sha256, Short
from hub.errors import HubError, NotFoundError, RefusedError

MANIFEST_FILE = "manifest.json"
DATABASE_FILE = "hub.db"
CONFIG_FILE = "hub.toml"
KEYS_SUFFIX = ".keys"

_MAX_MANIFEST_BYTES = 256 << 20
_CHUNK_BYTES = 1 << 20
_FILE_NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"
_PLACES = (
    rf"(hub\.db|hub\.toml|root\.json|ca\.pem|revoked\.json|tuf/{_FILE_NAME}"
    rf"|artifacts/[0-9a-f]{{64}}|releases/[1-9][0-9]{{0,9}}/{_FILE_NAME})"
)
FilePath = Annotated[str, Meta(pattern=rf"^{_PLACES}\Z", max_length=256)]
Progress = Callable[[int], None]
"""Is told how many bytes were worked on since it was last told."""


class FileEntry(Message, frozen=True, kw_only=True):
    """A file of a backup, by its path in the folder."""

    path: FilePath
    sha256: Sha256
    bytes: Count


class Manifest(Message, frozen=True, kw_only=True):
    """``manifest.json``, which is written last.

    ``database`` says what the hub has; only SQLite's is in the backup. ``revision`` is
    that of its schema. ``keys_sha256`` is the digest of the file with the keys.
    """

    format: Literal[1] = 1
    id: Annotated[str, Meta(pattern=r"^[0-9a-f]{16}\Z")]
    created_at: Instant
    version: Short
    database: Literal["sqlite", "postgresql"]
    revision: Short
    keys_sha256: Sha256
    files: list[FileEntry]

    @property
    def size(self) -> int:
        """How many bytes all files have."""
        return sum(entry.bytes for entry in self.files)

    def digests(self) -> dict[str, str]:
        """Return the sha256 of each path."""
        return {entry.path: entry.sha256 for entry in self.files}


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a backup.

    Raises:
        NotFoundError: There is no backup in this folder (``HUB-BACKUP-001``).
        RefusedError: Its manifest cannot be used (``HUB-BACKUP-002``).
    """
    path = folder / MANIFEST_FILE
    try:
        manifest = codec.decode(path.read_bytes(), Manifest, limit=_MAX_MANIFEST_BYTES)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFoundError(
            "HUB-BACKUP-001",
            f"there is no backup in {folder}: it has no {MANIFEST_FILE}",
            cure="name the folder that `hub backup create --to` wrote",
        ) from error
    except (OSError, WireError) as error:
        raise RefusedError("HUB-BACKUP-002", f"{path}: {error}") from error
    if len(manifest.digests()) != len(manifest.files):
        raise RefusedError("HUB-BACKUP-002", f"{path} names a file twice")
    return manifest


def copy_file(source: Path, target: Path, progress: Progress) -> tuple[str, int]:
    """Copy a file durably and for its owner only; return its sha256 and length.

    Raises:
        OSError: It is no file, cannot be read, or its copy not be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with (
        os.fdopen(_open_plain(source), "rb") as file,
        os.fdopen(os.open(target, flags, 0o600), "wb") as out,
    ):
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += out.write(chunk)
            progress(len(chunk))
        out.flush()
        os.fsync(out.fileno())
    return digest.hexdigest(), size


def digest_file(path: Path, progress: Progress) -> tuple[str, int]:
    """Return sha256 and length of a file.

    Raises:
        OSError: It is no file, or cannot be read.
    """
    digest, size = hashlib.sha256(), 0
    with os.fdopen(_open_plain(path), "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
            progress(len(chunk))
    return digest.hexdigest(), size


def cannot_write(place: Path, error: OSError) -> HubError:
    """Return the error of a place that takes no backup, or no home."""
    return HubError(
        "HUB-BACKUP-003",
        f"{place} cannot be made: {error.filename or 'the disk'}:"
        f" {error.strerror or error}",
        cure="name a place where you may write and that has room",
    )


def _open_plain(path: Path) -> int:
    """Open a file; what is a link, a device or a pipe is none."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(0, "is not a file", str(path))
    return handle
