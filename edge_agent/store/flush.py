"""Metrics reach the disk within a second: the write-ahead log is synced by the clock.

Commits of metric and sample lanes do not wait for the disk (``synchronous=NORMAL``),
and SQLite alone would sync them at its next checkpoint only: after megabytes, which may
be hours. So one thread of the supervisor syncs the log every ``FLUSH_S``, for the
worker's commits too, because a sync is of a file and not of a process. An idle device
syncs nothing.
"""

import logging
import os
from pathlib import Path
from threading import Event

FLUSH_S = 0.5
FLUSH_FAILED = "store.flush_failed"

log = logging.getLogger(__name__)


class LogFlusher:
    """Syncs the write-ahead log of one database."""

    def __init__(self, database: Path) -> None:
        """Take the database file; nothing is opened yet."""
        self._log = database.with_name(database.name + "-wal")
        self._seen: tuple[int, int, int] | None = None
        self._settled = False
        self._failing = False

    def run(self, stop: Event) -> None:
        """Sync every ``FLUSH_S`` until ``stop``, and once more."""
        while not stop.wait(FLUSH_S):
            self.step()
        self.step()

    def step(self) -> None:
        """Sync what was written since the last call; a failure is logged once."""
        try:
            # Closing this file drops no lock of SQLite's: those are on the other two.
            handle = os.open(self._log, os.O_RDONLY)
        except FileNotFoundError:
            return  # no log: all of it is in the database file, and synced
        except OSError as error:
            self._fail(error)
            return
        try:
            self._sync(handle)
            self._failing = False
        except OSError as error:
            self._fail(error)
        finally:
            os.close(handle)

    def _sync(self, handle: int) -> None:
        status = os.fstat(handle)
        now = (status.st_ino, status.st_size, status.st_mtime_ns)
        if now == self._seen and self._settled:
            return
        # A write may fall into the same tick of the file's clock as the last look at
        # it: a log that looks unchanged is synced once more before it is left alone.
        self._settled = now == self._seen
        self._seen = None
        os.fsync(handle)
        self._seen = now

    def _fail(self, error: OSError) -> None:
        if not self._failing:
            self._failing = True
            log.warning(FLUSH_FAILED, extra={"error": str(error)})
