"""Opening the hub's database and the one way to write to it.

SQLite is the default: see :mod:`hub.storage.sqlite_file` for how it is opened. Writes
take its lock at their beginning, because a transaction that reads first and takes the
write lock later can fail where waiting would have done. PostgreSQL is a URL away. Every
process of the hub opens the database here, and takes no lock for it where the schema
is the present one.
"""

import atexit
import functools
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    Connection,
    Dialect,
    Engine,
    Table,
    create_engine,
    inspect,
    make_url,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from hub.errors import ConflictError, HubError
from hub.storage.sqlite_file import (
    BEGIN,
    BEGIN_WRITE,
    close_to_others,
    is_wal,
    opening,
    set_up,
    set_wal,
)
from hub.storage.url import load_driver, sqlite_file

_MIGRATIONS = Path(__file__).parent / "migrations"


def _newest_migration() -> str:
    """Return the number that the newest file of a migration begins with.

    Alembic would tell the same, but takes longer to import than a command to run.
    """
    names = (path.name for path in (_MIGRATIONS / "versions").glob("[0-9]*_*.py"))
    return max(names).partition("_")[0]


HEAD = _newest_migration()
"""The newest migration; the one that this version of the hub works with."""

Values = tuple[str | int | float | bool | None, ...]

_OPEN: weakref.WeakSet[Engine] = weakref.WeakSet()
"""What is closed when the program ends: see :func:`_close_all`."""


def open_database(where: str | URL) -> Engine:
    """Open a database and bring its schema to :data:`HEAD`.

    Several processes may open the same SQLite file at the same time: the first
    migrates, the others wait for it. At the end of the program it is closed, so that
    SQLite's file is the whole database once nobody has it open.

    Raises:
        SettingsError: Its driver is not installed (``HUB-STORE-005``).
        HubError: It cannot be opened (``HUB-STORE-001``).
        ConflictError: A newer hub wrote it (``HUB-STORE-002``).
    """
    url = make_url(where)
    load_driver(url)
    engine = create_engine(url)
    path = sqlite_file(url)
    if engine.dialect.name == "sqlite":
        set_up(engine, path)
    try:
        if not _is_current(engine, path):
            _bring_up(engine, path)
    except (SQLAlchemyError, OSError) as error:
        engine.dispose()
        raise _cannot_open(url, error) from error
    except HubError:
        engine.dispose()
        raise
    if not _OPEN:
        # Registered late, so called early: before anything that logs is torn down.
        atexit.register(_close_all)
    _OPEN.add(engine)
    return engine


def leave_one_file(engine: Engine) -> None:
    """Move what SQLite has in its WAL into the file itself, also beside a reader.

    For the orderly end of a program that writes. Somebody who reads an older state at
    this very moment, or writes, is not waited for: the last who closes the database
    does the same.
    """
    if engine.dialect.name == "sqlite":
        with suppress(SQLAlchemyError), engine.connect() as connection:
            driver = connection.connection.driver_connection
            if driver is not None:
                driver.execute("PRAGMA busy_timeout=0").close()
                driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
    engine.dispose()


def _close_all() -> None:
    """Close connections: the last one to a file empties and removes its WAL."""
    for engine in list(_OPEN):
        engine.dispose()


def _is_current(engine: Engine, path: Path | None) -> bool:
    """Tell whether nothing is to be done; takes no lock that anybody waits for."""
    if path is not None:
        if not path.exists():
            return False
        close_to_others(path)
    with engine.connect() as connection:
        return (path is None or is_wal(connection)) and _revision(connection) == HEAD


def _bring_up(engine: Engine, path: Path | None) -> None:
    with opening(path):
        if path is not None:
            set_wal(engine)
        with engine.connect() as connection:
            present = _revision(connection)
        if present != HEAD:
            with transaction(engine) as connection:
                _migrate(connection)


def _cannot_open(url: URL, error: Exception) -> HubError:
    path = sqlite_file(url)
    cure = "check that the server runs, and that it lets this user and host in"
    if path is not None:
        cure = "check that its folder exists and can be written: run `hub init`"
        if path.is_file():
            cure = (
                "see that the hub's user may read and write it; if it is damaged:"
                " `hub backup restore`"
            )
    why = str(getattr(error, "orig", None) or error).strip().replace("\n", " ")
    return HubError(
        "HUB-STORE-001", f"cannot open the database {url!r}: {why}", cure=cure
    )


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """Open a write transaction: committed at the end, rolled back on an exception.

    Raises:
        BusyError: Another process writes for too long (``HUB-STORE-006``).
    """
    with (
        engine.connect().execution_options(**{BEGIN: BEGIN_WRITE}) as connection,
        connection.begin(),
    ):
        yield connection


def insert_new(connection: Connection, table: Table) -> Any:  # noqa: ANN401 - two dialects' types
    """Return an ``INSERT`` for ``table`` that leaves rows which are there alone."""
    return _insert_new(connection.dialect, table)


def _insert_new(dialect: Dialect, table: Table) -> Any:  # noqa: ANN401 - two dialects' types
    if dialect.name == "postgresql":
        return postgresql.insert(table).on_conflict_do_nothing()
    return sqlite.insert(table).on_conflict_do_nothing()


def insert_many(
    connection: Connection, table: Table, names: tuple[str, ...], rows: Sequence[Values]
) -> int:
    """Insert many rows, leaving those that are there alone.

    The rows go to the driver as they are, past what SQLAlchemy does to each value of
    each row (which costs as much as SQLite's own work): give plain Python values.

    Args:
        connection: Of a :func:`transaction`.
        table: Where to.
        names: The columns that ``rows`` have, in the order of the table.
        rows: One tuple a row.

    Returns:
        How many were new.
    """
    if not rows:
        return 0
    statement, positional = _compiled_insert(connection.dialect, table, names)
    if positional:
        result = connection.exec_driver_sql(statement, list(rows))
    else:
        named = [dict(zip(names, row, strict=True)) for row in rows]
        result = connection.exec_driver_sql(statement, named)
    return max(result.rowcount, 0)


@functools.lru_cache(maxsize=32)
def _compiled_insert(
    dialect: Dialect, table: Table, names: tuple[str, ...]
) -> tuple[str, bool]:
    """Return the text of an insert, and whether its values go by place."""
    compiled = _insert_new(dialect, table).compile(
        dialect=dialect, column_keys=list(names)
    )
    return str(compiled), compiled.positional


def _revision(connection: Connection) -> str:
    if not inspect(connection).has_table("alembic_version"):
        return ""
    return str(connection.scalar(text("SELECT version_num FROM alembic_version")) or "")


def _migrate(connection: Connection) -> None:
    """Run the migrations inside the caller's transaction: all of them or none."""
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise ConflictError(
            "HUB-STORE-002",
            f"the database has a schema that this hub does not know: {error}",
            cure="run the version of the hub that wrote it, or a newer one",
        ) from error
