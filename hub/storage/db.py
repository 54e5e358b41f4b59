"""Opening the hub's database and the one way to write to it.

SQLite is the default: WAL, so that readers never wait for the writer;
``synchronous=FULL``, because an acknowledgement promises that a power cut loses
nothing; and ``BEGIN IMMEDIATE`` for writes, because a transaction that reads first and
takes the write lock later can fail where waiting would have done. PostgreSQL is a URL
away. Every process of the hub opens the database here.
"""

import fcntl
import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from sqlite3 import Connection as SqliteConnection
from typing import Any

from sqlalchemy import (
    URL,
    Connection,
    Dialect,
    Engine,
    Table,
    create_engine,
    event,
    inspect,
    make_url,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from hub.errors import ConflictError, HubError

HEAD = "0012"
"""The newest migration; the one that this version of the hub works with."""

Values = tuple[str | int | float | bool | None, ...]

_BUSY_TIMEOUT_MS = 15_000
_CHECKPOINT_PAGES = 4000
"""16 MiB: pages of an index that many groups touch are written back once."""
_BEGIN = "shoal_begin"
_MIGRATIONS = Path(__file__).parent / "migrations"


def open_database(url: str) -> Engine:
    """Open a database and bring its schema to :data:`HEAD`.

    Several processes may open the same SQLite file at the same time: the first
    migrates, the others wait for it.

    Raises:
        HubError: It cannot be opened (``HUB-STORE-001``).
        ConflictError: A newer hub wrote it (``HUB-STORE-002``).
    """
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        _set_up_sqlite(engine)
    try:
        with _opening(engine.url), engine.connect() as connection:
            present = _revision(connection)
        if present != HEAD:
            with _opening(engine.url), transaction(engine) as connection:
                _migrate(connection)
    except (SQLAlchemyError, OSError) as error:
        engine.dispose()
        raise HubError(
            "HUB-STORE-001",
            f"cannot open the database {engine.url!r}: {error}",
            cure="check that its folder exists and can be written: run `hub init`",
        ) from error
    except HubError:
        engine.dispose()
        raise
    return engine


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """Open a write transaction: committed at the end, rolled back on an exception."""
    with (
        engine.connect().execution_options(**{_BEGIN: "BEGIN IMMEDIATE"}) as connection,
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


def _set_up_sqlite(engine: Engine) -> None:
    """Take over ``BEGIN`` from the driver, which would send it too late."""

    @event.listens_for(engine, "connect")
    def _on_connect(connection: SqliteConnection, _: object) -> None:
        connection.isolation_level = None
        for pragma in (
            f"busy_timeout={_BUSY_TIMEOUT_MS}",
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            f"wal_autocheckpoint={_CHECKPOINT_PAGES}",
        ):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        connection.exec_driver_sql(str(options.get(_BEGIN, "BEGIN")))


@contextmanager
def _opening(url: URL) -> Iterator[None]:
    """Let one process at a time open a SQLite file.

    The change to WAL fails at once, without waiting, while another connection does
    the same; so it needs a lock of its own.
    """
    path = make_url(url).database
    if url.get_backend_name() != "sqlite" or not path or path == ":memory:":
        yield
        return
    with Path(f"{path}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


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
