"""Reading files that somebody else put there: regular ones, of a bounded size.

A bundle, a stick or an import is a folder of names. Behind one there may be a FIFO
(whose reader waits for ever), a device node (which never ends, or does something when
it is opened), a symbolic link out of the folder, or a sparse file of terabytes. What
is opened is looked at first, opened without waiting, and looked at again, because it
may have been swapped in between.
"""

import os
import stat
from pathlib import Path
from typing import BinaryIO

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CHUNK_BYTES = 1 << 20


def open_regular(path: Path, most: int, *, follow: bool = False) -> BinaryIO:
    """Open a regular file of at most ``most`` bytes for reading.

    Args:
        path: The file.
        most: Bytes that it may have.
        follow: Whether the name itself may be a symbolic link: for names that the
            operator gave, not for those found in a folder.

    Raises:
        OSError: It is none, is larger, or cannot be opened; the text names it.
    """
    _check(path, path.stat(follow_symlinks=follow), most)
    handle = os.open(path, _FLAGS if follow else _FLAGS | os.O_NOFOLLOW)
    try:
        _check(path, os.fstat(handle), most)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_regular(path: Path, most: int, *, follow: bool = False) -> bytes:
    """Return the content of a regular file; see :func:`open_regular`.

    Raises:
        OSError: It is none, has more than ``most`` bytes, or cannot be read.
    """
    with open_regular(path, most, follow=follow) as file:
        data = file.read(most + 1)
    if len(data) > most:  # it grew
        raise _too_large(path, most)
    return data


def copy_regular(path: Path, target: Path, most: int) -> None:
    """Copy a regular file of a folder to ``target``; see :func:`open_regular`.

    Raises:
        OSError: It is none, has more than ``most`` bytes, or cannot be copied.
    """
    left = most
    with open_regular(path, most) as file, target.open("wb") as out:
        while chunk := file.read(_CHUNK_BYTES):
            left -= len(chunk)
            if left < 0:
                raise _too_large(path, most)
            out.write(chunk)


def _check(path: Path, found: os.stat_result, most: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise OSError(f"{path} is {_KINDS.get(stat.S_IFMT(found.st_mode), 'no file')}")
    if found.st_size > most:
        raise _too_large(path, most)


def _too_large(path: Path, most: int) -> OSError:
    return OSError(f"{path} has more than {most} bytes")


_KINDS = {
    stat.S_IFIFO: "a FIFO, not a regular file",
    stat.S_IFCHR: "a device, not a regular file",
    stat.S_IFBLK: "a device, not a regular file",
    stat.S_IFLNK: "a symbolic link, not a regular file",
    stat.S_IFSOCK: "a socket, not a regular file",
    stat.S_IFDIR: "a folder, not a regular file",
}
