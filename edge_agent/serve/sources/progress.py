"""How far a folder source is in the file that it is reading.

One small file, written anew in place for every sample and synced at least twice a
second and at a file's end. So a worker that is stopped repeats nothing and loses
nothing; one that is killed repeats at most the sample that was being inferred; a power
cut, what the last half second answered (under the same sample ids). Of a worker that
dies again and again in one place, the attempts are counted, so that the file can be
set aside. A torn record counts as none.
"""

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from edge_agent.base.clock import Clock
from edge_agent.errors import StoreError
from edge_agent.serve.files.reading import Position
from edge_agent.store.disk import disk_error

SIZE = 512
SYNC_S = 0.5
_Key = Annotated[str, Meta(max_length=64)]


class Progress(Struct, frozen=True, kw_only=True):
    """How far one file is: all before ``at`` is done; ``whole``: everything is."""

    key: _Key = ""
    at: Position = (0, 0)
    answered: int = 0
    rejected: int = 0
    failed: int = 0
    attempts: int = 0
    whole: bool = False
    why: Annotated[str, Meta(max_length=128)] = ""


def key_of(name: str, stat: os.stat_result) -> str:
    """Return what tells a file from every other that had or will have its name."""
    facts = f"{name}\0{stat.st_ino}\0{stat.st_size}\0{stat.st_mtime_ns}"
    return hashlib.sha256(facts.encode(errors="surrogateescape")).hexdigest()


class ProgressFile:
    """The record on disk; one thread uses it."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Open the record.

        Raises:
            StoreError: The folder cannot be written (``AGENT-STORE-001``).
        """
        self._clock = clock
        self._synced_at = float("-inf")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._now = _decode(os.pread(self._handle, SIZE, 0))
        except OSError as error:
            raise disk_error(error) from error

    def begin(self, key: str) -> Progress:
        """Return how far a file is, counted as one more attempt at it.

        Raises:
            StoreError: It cannot be written.
        """
        known = self._now if self._now.key == key else Progress(key=key)
        begun = msgspec.structs.replace(known, attempts=known.attempts + 1)
        self.note(begun, sync=True)
        return begun

    def note(self, progress: Progress, *, sync: bool = False) -> None:
        """Write how far it is now.

        Raises:
            StoreError: It cannot be written.
        """
        self._now = progress
        try:
            os.pwrite(self._handle, msgspec.json.encode(progress).ljust(SIZE), 0)
            now = self._clock.mono()
            if sync or now - self._synced_at >= SYNC_S:
                os.fsync(self._handle)
                self._synced_at = now
        except OSError as error:
            raise disk_error(error) from error

    def forgive(self) -> None:
        """Count no attempt at the present file: what failed was not its fault."""
        with contextlib.suppress(StoreError):
            self.note(msgspec.structs.replace(self._now, attempts=0), sync=True)

    def close(self) -> None:
        """Sync and close."""
        os.fsync(self._handle)
        os.close(self._handle)


def _decode(data: bytes) -> Progress:
    try:
        return msgspec.json.decode(data.rstrip(), type=Progress)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Progress()
