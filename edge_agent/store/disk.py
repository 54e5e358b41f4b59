"""Writing to the disk so that a power cut leaves the old or the new, and its errors."""

import os
from pathlib import Path

from edge_agent.errors import StoreError

PART_SUFFIX = ".part"
_CURE = "check that the state folder is writable and the disk is not full"


def disk_error(text: object, *, cure: str = _CURE) -> StoreError:
    """Return the error of a state folder that cannot be read or written."""
    return StoreError("AGENT-STORE-001", str(text), cure=cure, retryable=True)


def write_durably(path: Path, data: bytes) -> None:
    """Replace a file so that a power cut leaves the old or the new one, whole.

    Written by root into somebody else's folder, it is that one's: the agent reads it.

    Raises:
        StoreError: The disk is full or not writable.
    """
    part = path.with_name(path.name + PART_SUFFIX)
    try:
        with part.open("wb") as file:
            give_to_owner(path.parent, file.fileno())
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise disk_error(error) from error


def give_to_owner(folder: Path, *files: Path | int) -> None:
    """Give files that root makes to whom the folder belongs; others make their own.

    Args:
        folder: Whose owner is meant.
        files: Paths or open descriptors.

    Raises:
        OSError: The owner cannot be changed.
    """
    owner = folder.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        for file in files:
            os.chown(file, owner.st_uid, owner.st_gid)


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
