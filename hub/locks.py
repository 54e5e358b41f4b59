"""Locks between the hub's processes: who holds one, and waiting that says so.

The kernel's own table (``/proc/locks``) names the process that holds a lock, so no file
that a crash left can name a wrong one. Where there is none, or the holder lives in
another container, nobody is named. Called by everything that waits for a lock of a
file, and by :mod:`hub.storage.db` for SQLite's.
"""

import fcntl
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

log = logging.getLogger(__name__)

LOCK_WAITING = "lock.waiting"
TELL_AFTER_S = 2.0
"""Who waits longer says for what."""

_TABLE = Path("/proc/locks")
_LOOK_S = 0.05
_COMMAND_CHARACTERS = 200
_WAL_WRITE_BYTE = 120
"""Of SQLite's ``-shm`` file: whoever has locked it may write (``walformat.html``)."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that holds a lock, and its command line ("" if that is not told)."""

    pid: int
    command: str

    def __str__(self) -> str:
        """Return it as error texts name it."""
        return f"process {self.pid} ({self.command or 'command not known'})"


def flock_holder(path: Path) -> Holder | None:
    """Return who holds the lock of a file, ``None`` if that cannot be told."""
    return next(_holders(path, "FLOCK"), None)


def sqlite_writer(database: Path) -> Holder | None:
    """Return who has SQLite's write lock of a file, ``None`` if it cannot be told."""
    shared = database.with_name(f"{database.name}-shm")
    return next(
        _holders(shared, "POSIX", byte=_WAL_WRITE_BYTE),
        next(_holders(database, "POSIX"), None),
    )


def name_holder(holder: Holder | None) -> str:
    """Return a holder as error texts name it, also one that cannot be told."""
    return "another process" if holder is None else str(holder)


def tell_waiting(what: str, holder: Holder | None) -> None:
    """Log for what this process waits, and who has it."""
    text = f"waiting for {what}: {name_holder(holder)} has it"
    log.warning(LOCK_WAITING, extra={"text": text})


def wait_for_flock(file: IO[Any], what: str) -> None:
    """Lock an open file for this process alone, saying so if it takes long.

    Args:
        file: The file; the lock is gone when it is closed.
        what: What the lock protects, as a person knows it.
    """
    deadline = time.monotonic() + TELL_AFTER_S
    while time.monotonic() < deadline:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOOK_S)
        else:
            return
    tell_waiting(what, flock_holder(Path(file.name)))
    fcntl.flock(file, fcntl.LOCK_EX)


def _holders(path: Path, kind: str, *, byte: int | None = None) -> Iterator[Holder]:
    """Yield who holds exclusive locks of a file, or of one byte of it.

    A line is ``1: POSIX  ADVISORY  WRITE 4711 08:01:12345 120 120``; one of a process
    that waits has an arrow after the number.
    """
    try:
        inode = path.stat().st_ino
        lines = _TABLE.read_text("ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    for line in lines:
        fields = line.split()
        if len(fields) != 8 or fields[1] != kind or fields[3] != "WRITE":  # noqa: PLR2004 - as shown
            continue
        if int(fields[5].rpartition(":")[2]) != inode or int(fields[4]) <= 0:
            continue
        if byte is None or int(fields[6]) <= byte <= _end(fields[7]):
            yield Holder(int(fields[4]), _command(int(fields[4])))


def _end(text: str) -> float:
    return float("inf") if text == "EOF" else int(text)


def _command(pid: int) -> str:
    """Return a process' command line, as much as one line of a terminal shows."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ""
    text = raw.replace(b"\0", b" ").decode("utf-8", "replace").strip()
    plain = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return plain[:_COMMAND_CHARACTERS]
