"""Opening the hub's database and the one way to write to it.

SQLite is the default: WAL, so that readers never wait for the writer;
``synchronous=FULL``, because an acknowledgement promises that a power cut loses
nothing; and ``BEGIN IMMEDIATE`` for writes, because a transaction that reads first and
takes the write lock later can fail where waiting would have done. PostgreSQL is a URL
away. Every process of the hub opens the database here.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from sqlite3 import Connection as SqliteConnection
from typing import Any

from sqlalchemy import (
    URL,
    Connection,
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

HEAD = "0002"
"""The newest migration; the one that this version of the hub works with."""

_BUSY_TIMEOUT_MS = 15_000
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
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table).on_conflict_do_nothing()
    return sqlite.insert(table).on_conflict_do_nothing()


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
