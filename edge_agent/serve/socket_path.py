"""Addresses of Unix sockets in folders of any depth."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

MAX_ADDRESS_BYTES = 100
"""The kernel takes 107; longer paths are reached through a handle of the folder."""


@contextlib.contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """Yield an address for ``bind`` or ``connect``, valid inside the block.

    Raises:
        OSError: The folder is not there.
    """
    if len(os.fsencode(path)) <= MAX_ADDRESS_BYTES:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
