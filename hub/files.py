"""Durable files: whole or absent, whatever happens in between.

Used for keys, metadata, artifacts and configuration: a file beside the target
(:mod:`hub.scratch`), fsync, rename, fsync of the folder.
"""

import hashlib
import os
from pathlib import Path

from hub.scratch import scratch_file

PUBLIC = 0o644
"""The mode of what other users are meant to read, such as the broker's."""
_CHUNK_BYTES = 1 << 20


def write_durably(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replace ``path`` by ``data`` in one step that survives a power cut.

    It is its owner's only, unless ``mode`` says otherwise.
    """
    with scratch_file(path.parent, path.name) as (handle, part):
        os.fchmod(handle, mode)
        with os.fdopen(handle, "wb", closefd=False) as file:
            file.write(data)
        os.fsync(handle)
        part.replace(path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_file(path: Path) -> None:
    """Make a file's content durable."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sha256_of(path: Path) -> str:
    """Return a file's sha256 in hex, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
