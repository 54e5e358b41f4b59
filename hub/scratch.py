"""Files and folders on their way: locked while somebody writes them.

What is not whole yet has a name of its own (``.part-…``) beside where it goes. A
process that dies leaves it there, but not its lock; so whoever sweeps can tell what a
crash left from what another process is writing at this moment. Called by everything
that writes into the hub's home; swept when a hub starts, and before a release is taken
in or published.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = ".part-"


@contextmanager
def scratch_file(folder: Path, name: str) -> Iterator[tuple[int, Path]]:
    """Make an empty locked file that shall become ``name``; yield handle and path.

    Rename it inside the context: what is there at its end is removed.
    """
    while True:
        handle, made = tempfile.mkstemp(dir=folder, prefix=f"{PREFIX}{name}-")
        give_to_owner(folder, handle)
        if _lock(handle, made):
            break
    try:
        yield handle, Path(made)
    finally:
        Path(made).unlink(missing_ok=True)
        os.close(handle)


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Make an empty locked folder; gone at the end if it is still there."""
    while True:
        name = tempfile.mkdtemp(dir=parent, prefix=PREFIX)
        with suppress(FileNotFoundError):
            handle = os.open(name, os.O_RDONLY | os.O_DIRECTORY)
            give_to_owner(parent, handle)
            if _lock(handle, name):
                break
    try:
        yield Path(name)
    finally:
        shutil.rmtree(name, ignore_errors=True)
        os.close(handle)


def give_to_owner(folder: Path, *files: Path | int) -> None:
    """Give files that root makes to whom the folder belongs; others make their own.

    ``sudo hub releases create`` works in the home of the user that serves it.
    """
    owner = folder.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        for file in files:
            os.chown(file, owner.st_uid, owner.st_gid)


def sweep(folders: Iterable[Path]) -> int:
    """Remove what crashes left in some folders, never what is being written.

    Returns:
        How many files and folders were removed.
    """
    removed = 0
    for folder in folders:
        for path in sorted(folder.glob(f"{PREFIX}*")):
            with suppress(OSError):
                removed += _remove_unlocked(path)
    return removed


def _lock(handle: int, name: str) -> bool:
    """Lock what was just made; false if a sweep came first, and took it away."""
    fcntl.flock(handle, fcntl.LOCK_EX)
    with suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(handle), os.stat(name)):  # noqa: PTH116 - of the same kind
            return True
    os.close(handle)
    return False


def _remove_unlocked(path: Path) -> bool:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True
