"""SQLite as the hub opens it: settings, locks, and who is waited for.

WAL, so that readers never wait for the writer; ``synchronous=FULL``, because an
acknowledgement promises that a power cut loses nothing; a file for its owner only. A
write lock that another process keeps is waited for, after two seconds aloud, and an
error names the process. Called by :mod:`hub.storage.db`.
"""

import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import OperationalError

from hub.errors import HubError
from hub.locks import (
    TELL_AFTER_S,
    name_holder,
    sqlite_writer,
    tell_waiting,
    wait_for_flock,
)

BEGIN = "shoal_begin"
BEGIN_WRITE = "BEGIN IMMEDIATE"

_BUSY_TIMEOUT_MS = 15_000
_CHECKPOINT_PAGES = 4000
"""16 MiB: pages of an index that many groups touch are written back once."""
_PRIMARY_CODE = 0xFF


class BusyError(HubError, OperationalError):
    """Another process has SQLite's lock for longer than one waits.

    It is SQLAlchemy's error too, so that what lives on while the database is busy goes
    on doing so.
    """

    code: str

    def __init__(self, error: OperationalError, holder: str) -> None:
        """Name who holds the lock."""
        OperationalError.__init__(
            self, error.statement, error.params, _named(error.orig, holder)
        )
        self.code = "HUB-STORE-006"
        self.text = f"the database is locked: {holder} writes to it"
        self.cure = "wait until it has finished, or stop it; then try again"
        self.retryable = True

    __str__ = HubError.__str__


def _named(original: BaseException | None, holder: str) -> BaseException:
    return sqlite3.OperationalError(f"{original}: {holder} writes to it")


def set_up(engine: Engine, path: Path | None) -> None:
    """Take over ``BEGIN`` from the driver, which would send it too late."""

    @event.listens_for(engine, "connect")
    def _on_connect(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None
        for pragma in (
            f"busy_timeout={_BUSY_TIMEOUT_MS}",
            "synchronous=FULL",
            "foreign_keys=ON",
            f"wal_autocheckpoint={_CHECKPOINT_PAGES}",
        ):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        statement = str(connection.get_execution_options().get(BEGIN, "BEGIN"))
        if statement == BEGIN_WRITE:
            _begin_write(connection, path)
        else:
            connection.exec_driver_sql(statement)

    @event.listens_for(engine, "handle_error")
    def _on_error(context: ExceptionContext) -> None:
        error = context.sqlalchemy_exception
        if path is not None and isinstance(error, OperationalError) and _is_busy(error):
            raise BusyError(error, name_holder(sqlite_writer(path))) from error


def _begin_write(connection: Connection, path: Path | None) -> None:
    """Take the write lock; what takes long is told, what takes too long is an error."""
    patience_ms = int(TELL_AFTER_S * 1000)
    _wait_at_most(connection, patience_ms)
    try:
        connection.exec_driver_sql(BEGIN_WRITE)
    except BusyError:
        if path is not None:
            tell_waiting("the database", sqlite_writer(path))
        _wait_at_most(connection, _BUSY_TIMEOUT_MS - patience_ms)
        connection.exec_driver_sql(BEGIN_WRITE)
    finally:
        _wait_at_most(connection, _BUSY_TIMEOUT_MS)


def _wait_at_most(connection: Connection, timeout_ms: int) -> None:
    """Set for how long SQLite waits for a lock; past SQLAlchemy, each write does it."""
    driver = connection.connection.driver_connection
    if isinstance(driver, sqlite3.Connection):
        driver.execute(f"PRAGMA busy_timeout={timeout_ms}").close()


def _is_busy(error: OperationalError) -> bool:
    code = int(getattr(error.orig, "sqlite_errorcode", 0))
    return (code & _PRIMARY_CODE) == sqlite3.SQLITE_BUSY


def is_wal(connection: Connection) -> bool:
    """Tell whether a file has its journal as the hub wants it; it keeps this itself."""
    return str(connection.scalar(text("PRAGMA journal_mode"))) == "wal"


def set_wal(engine: Engine) -> None:
    """Give a file its WAL: outside of a transaction, and alone (:func:`opening`)."""
    raw = engine.raw_connection()
    try:
        raw.cursor().execute("PRAGMA journal_mode=WAL")
    finally:
        raw.close()


@contextmanager
def opening(path: Path | None) -> Iterator[None]:
    """Let one process at a time make or migrate a file, readable by its owner only.

    The change to WAL fails at once, without waiting, while another connection does
    the same; so it needs a lock of its own.
    """
    if path is None:
        yield
        return
    with Path(f"{path}.lock").open("ab") as lock:
        wait_for_flock(lock, f"the schema of {path}")
        path.touch(mode=0o600)
        close_to_others(path)
        yield


def close_to_others(path: Path) -> None:
    """Take from everybody but the owner what an older hub gave to everybody.

    A file that only a group may read is left: somebody chose that.
    """
    for file in (path, *(Path(f"{path}{end}") for end in ("-wal", "-shm", ".lock"))):
        with suppress(OSError):
            mode = stat.S_IMODE(file.stat().st_mode)
            if mode & stat.S_IRWXO:
                file.chmod(mode & stat.S_IRWXU)
