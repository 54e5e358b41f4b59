"""The device's database file: opening, migrating, transactions, setting aside.

Invariants: WAL; every transaction takes the write lock at its start, so two processes
never deadlock; ``durable`` transactions are on disk when they return. Only the
supervisor (which holds the state folder's lock) may set a corrupt file aside.
"""

import contextlib
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from edge_agent.errors import StoreError
from edge_agent.store.disk import disk_error

DB_FILE = "agent.db"
BUSY_TIMEOUT_S = 15.0
PAGE_BYTES = 1024
"""A commit of 64 records writes a third fewer bytes to flash as with pages of 4096."""
CACHE_KIB = 256
"""Pages that each connection keeps; SQLite's own 2,000 KiB fill up over days."""
DAMAGED = "AGENT-STORE-002"
_SIDE_FILES = ("-wal", "-shm")
_CORRUPT = frozenset({"SQLITE_CORRUPT", "SQLITE_NOTADB"})

_MIGRATIONS = (
    """
    CREATE TABLE streams (
        id       INTEGER PRIMARY KEY,
        boot     TEXT    NOT NULL,
        lane     TEXT    NOT NULL,
        last_seq INTEGER NOT NULL DEFAULT 0,
        evicted  INTEGER NOT NULL DEFAULT 0,
        bytes    INTEGER NOT NULL DEFAULT 0,
        UNIQUE (boot, lane)
    );
    CREATE TABLE outbox (
        stream INTEGER NOT NULL REFERENCES streams (id),
        seq    INTEGER NOT NULL,
        bytes  INTEGER NOT NULL,
        body   BLOB    NOT NULL,
        PRIMARY KEY (stream, seq)
    );
    CREATE TABLE slots (
        id   INTEGER PRIMARY KEY CHECK (id = 1),
        body BLOB NOT NULL
    );
    CREATE TABLE meta (
        key   TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) WITHOUT ROWID;
    """,
)


class CorruptError(StoreError):
    """The database file is damaged or not a database."""


@contextlib.contextmanager
def mapped_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours.

    Raises:
        CorruptError: The file is damaged (AGENT-STORE-002).
        StoreError: It cannot be read or written (AGENT-STORE-001).
    """
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(tuple(_CORRUPT)):
            raise CorruptError(
                DAMAGED,
                f"{path} is damaged: {error}",
                cure="restart the agent: it sets the file aside and starts anew",
            ) from error
        raise disk_error(f"{path}: {error}") from error


def open_db(path: Path) -> sqlite3.Connection:
    """Open the database, creating or migrating it where needed.

    The connection belongs to the calling thread and is in autocommit mode: write
    through :func:`transaction`.

    Raises:
        CorruptError: The file is damaged.
        StoreError: It cannot be opened, or a newer agent wrote it.
    """
    _close_to_others(path)
    with mapped_errors(path):
        conn = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        try:
            conn.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # of a new file
            conn.execute("PRAGMA journal_mode = WAL")
            conn.execute(f"PRAGMA cache_size = {-CACHE_KIB}")
            conn.execute("PRAGMA foreign_keys = ON")
            conn.execute("PRAGMA journal_size_limit = 1048576")
            _migrate(conn, path)
        except BaseException:
            conn.close()
            raise
    return conn


def _close_to_others(path: Path) -> None:
    """Take from everybody but the owner what an older agent gave to everybody."""
    for file in (path, *(path.with_name(path.name + end) for end in _SIDE_FILES)):
        with contextlib.suppress(OSError):
            mode = stat.S_IMODE(file.stat().st_mode)
            if mode & stat.S_IRWXO:
                file.chmod(mode & stat.S_IRWXU)


def open_or_set_aside(path: Path, stamp: int) -> tuple[sqlite3.Connection, Path | None]:
    """Open the database; a damaged one is renamed and a new one started.

    Args:
        path: The database file.
        stamp: Wall time in seconds, part of the new name of a damaged file.

    Returns:
        The connection, and where the damaged file went (``None``: it was sound).
    """
    try:
        conn = open_db(path)
        try:
            with mapped_errors(path):
                check_integrity(conn, path)
        except CorruptError:
            conn.close()
            raise
    except CorruptError:
        aside = path.with_name(f"{path.name}.corrupt-{stamp}")
        path.rename(aside)
        for suffix in _SIDE_FILES:
            side = path.with_name(path.name + suffix)
            if side.exists():
                side.rename(aside.with_name(aside.name + suffix))
        return open_db(path), aside
    return conn, None


def untold_asides(conn: sqlite3.Connection, path: Path) -> list[Path]:
    """Return the databases that were set aside and are not reported yet.

    The files themselves are the memory: an agent that died after the renaming finds
    them at its next start. :func:`mark_told` ends it, in the report's transaction.
    """
    names = sorted(path.parent.glob(f"{path.name}.corrupt-*"))
    with mapped_errors(path):
        return [
            name
            for name in names
            if not name.name.endswith(_SIDE_FILES)
            and read_meta(conn, f"told:{name.name}", "") == ""
        ]


def mark_told(conn: sqlite3.Connection, asides: Sequence[Path]) -> None:
    """Remember that files are reported, inside the caller's transaction."""
    for aside in asides:
        write_meta(conn, f"told:{aside.name}", "1")


def check_integrity(conn: sqlite3.Connection, path: Path) -> None:
    """Check the file's structure.

    Raises:
        CorruptError: It is damaged.
    """
    verdict = conn.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise CorruptError(DAMAGED, f"{path} is damaged: {verdict}")


@contextlib.contextmanager
def transaction(conn: sqlite3.Connection, *, durable: bool) -> Iterator[None]:
    """Run the block in one transaction, begun with the write lock.

    Args:
        conn: A connection of :func:`open_db`.
        durable: Whether the commit must survive a power cut (``synchronous=FULL``).
    """
    conn.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
    conn.execute("BEGIN IMMEDIATE")
    try:
        yield
        conn.execute("COMMIT")
    except BaseException:
        if conn.in_transaction:
            conn.execute("ROLLBACK")
        raise


def read_meta(conn: sqlite3.Connection, key: str, default: str) -> str:
    """Return a remembered value, or ``default``."""
    row = conn.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return default if row is None else str(row[0])


def write_meta(conn: sqlite3.Connection, key: str, value: str) -> None:
    """Remember a value, inside the caller's transaction."""
    conn.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))


def _migrate(conn: sqlite3.Connection, path: Path) -> None:
    if _version(conn) == len(_MIGRATIONS):
        return
    with transaction(conn, durable=True):
        version = _version(conn)
        if version > len(_MIGRATIONS):
            raise StoreError(
                "AGENT-STORE-003",
                f"{path} was written by a newer agent (schema {version})",
                cure="install that version again, or start with a new state folder",
            )
        for script in _MIGRATIONS[version:]:
            for statement in filter(str.strip, script.split(";")):
                conn.execute(statement)
        conn.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")


def _version(conn: sqlite3.Connection) -> int:
    return int(conn.execute("PRAGMA user_version").fetchone()[0])
