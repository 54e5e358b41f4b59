"""Opening the hub's database: migrations, settings and concurrent processes."""

import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Engine, create_engine, insert, select, text

from hub.errors import ConflictError, HubError
from hub.storage import migrations
from hub.storage.db import insert_new, open_database, transaction
from hub.storage.tables import (
    IS_PROFILE,
    IS_SAMPLE,
    IS_UPDATE,
    METADATA,
    POISON,
    RECORDS,
    RECORDS_OF_STREAMS,
    STREAMS,
)

MIGRATIONS = Path(migrations.__file__).parent
OPEN = (
    "import sys; from hub.storage.db import open_database; open_database(sys.argv[1])"
)


def test_migrated_schema_equals_the_tables(tmp_path: Path) -> None:
    """The migrations create exactly what ``tables.py`` declares."""
    engine = open_database(f"sqlite:///{tmp_path / 'hub.db'}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, METADATA) == []
        created = {
            row[0]: row[1]
            for row in connection.execute(
                text("SELECT name, sql FROM sqlite_master WHERE type = 'table'")
            )
        }
    engine.dispose()

    expected = {t.name for t in METADATA.sorted_tables}
    assert expected <= set(created)
    assert "AUTOINCREMENT" in created["records"]


def test_sqlite_is_set_to_survive_a_power_cut(tmp_path: Path) -> None:
    """Every connection has WAL, full synchronisation, a timeout and foreign keys."""
    engine = open_database(f"sqlite:///{tmp_path / 'hub.db'}")
    with engine.connect() as connection:
        found = [
            connection.scalar(text(f"PRAGMA {name}"))
            for name in ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
        ]
    engine.dispose()

    assert found == ["wal", 2, 15_000, 1]


def test_many_processes_may_open_a_new_database_at_once(tmp_path: Path) -> None:
    """Of processes that open the same new file, one migrates and none fails."""
    url = f"sqlite:///{tmp_path / 'hub.db'}"
    running = [
        subprocess.Popen([sys.executable, "-c", OPEN, url], stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    results = [(p.communicate(timeout=60)[1], p.returncode) for p in running]

    assert results == [(b"", 0)] * 4


def _insert_and_fail(engine: Engine, row: dict[str, object]) -> None:
    with transaction(engine) as connection:
        connection.execute(insert(POISON).values(row))
        raise HubError("HUB-TEST-001", "on purpose")


def test_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    """An exception inside a transaction rolls back all of its rows."""
    engine = open_database(f"sqlite:///{tmp_path / 'hub.db'}")
    row: dict[str, object] = {
        "received_at": 1.0,
        "topic": "t",
        "reason": "r",
        "payload": b"",
    }
    with pytest.raises(HubError, match="on purpose"):
        _insert_and_fail(engine, row)
    with transaction(engine) as connection:
        for _ in range(2):
            connection.execute(insert_new(connection, POISON).values(id=1, **row))
        assert len(connection.execute(select(POISON)).all()) == 1
    engine.dispose()


def test_an_unknown_schema_is_refused_with_a_cure(tmp_path: Path) -> None:
    """A database of a newer hub is a conflict, not a traceback."""
    url = f"sqlite:///{tmp_path / 'hub.db'}"
    engine = open_database(url)
    with transaction(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()

    with pytest.raises(ConflictError, match="HUB-STORE-002"):
        open_database(url)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The error for a missing folder says where and what to do."""
    with pytest.raises(HubError, match="HUB-STORE-001"):
        open_database(f"sqlite:///{tmp_path / 'none' / 'hub.db'}")


def test_records_of_an_older_hub_keep_their_streams_and_numbers(tmp_path: Path) -> None:
    """The migration that numbers streams loses neither a record nor a watermark."""
    url = f"sqlite:///{tmp_path / 'hub.db'}"
    engine = create_engine(url)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        for place in range(6):
            connection.execute(
                text(
                    "INSERT INTO records (device, boot, lane, seq, kind, at,"
                    " received_at, release, body) VALUES (:device, 'b', 'metric',"
                    " :seq, 'profile', 1.0, 2.0, 3, '{}')"
                ),
                {"device": f"dev-{place % 2}", "seq": 1 + place // 2},
            )
        connection.execute(
            text("INSERT INTO streams VALUES ('dev-1', 'b', 'metric', 2, 4, 5)")
        )
    engine.dispose()

    engine = open_database(url)
    with engine.connect() as connection:
        streams = connection.execute(
            select(STREAMS.c.device, STREAMS.c.watermark, STREAMS.c.top)
        ).all()
        rows = connection.execute(
            select(STREAMS.c.device, RECORDS.c.id, RECORDS.c.seq)
            .select_from(RECORDS_OF_STREAMS)
            .order_by(RECORDS.c.id)
        ).all()
    engine.dispose()

    assert sorted(streams) == [("dev-0", 0, 3), ("dev-1", 2, 3)]
    assert rows == [(f"dev-{n % 2}", n + 1, 1 + n // 2) for n in range(6)]


def test_profiles_and_updates_are_found_by_their_partial_indexes(
    tmp_path: Path,
) -> None:
    """What ticks ask for again and again reads no other record."""
    engine = open_database(f"sqlite:///{tmp_path / 'hub.db'}")
    with engine.connect() as connection:
        plans = [
            str(connection.execute(text(f"EXPLAIN QUERY PLAN {query}")).all())
            for query in (
                f"SELECT id FROM records WHERE {IS_PROFILE} AND id > 5 ORDER BY id",
                f"SELECT id FROM records WHERE {IS_UPDATE} AND stream = 1",
                f"SELECT id FROM records WHERE {IS_SAMPLE} AND stream = 1",
            )
        ]
    engine.dispose()

    assert "records_profiles" in plans[0]
    assert "records_by_stream" in plans[1]
    assert "records_by_stream" in plans[2]
