"""One SQLite file for analysis, made with sqlite-utils; opens in Datasette as it is.

The file is a copy for reading: JSON columns are unfolded where people filter by them,
foreign keys and indexes are there, and alert texts can be searched.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, Table, select

from hub.errors import ConflictError
from hub.storage.tables import (
    ALERTS,
    DEVICES,
    FEEDBACK,
    RECORDS,
    RELEASES,
    ROLLOUT_EVENTS,
    ROLLOUTS,
)

_BATCH = 1000
_TABLES: tuple[tuple[Table, str], ...] = (
    (DEVICES, "id"),
    (RELEASES, "release"),
    (ROLLOUTS, "id"),
    (ROLLOUT_EVENTS, "id"),
    (ALERTS, "id"),
    (FEEDBACK, "id"),
    (RECORDS, "id"),
)
_LINKS = (
    ("devices", "release", "releases", "release"),
    ("rollouts", "release", "releases", "release"),
    ("rollout_events", "rollout", "rollouts", "id"),
    ("feedback", "device", "devices", "id"),
    ("records", "device", "devices", "id"),
)


def export_sqlite(engine: Engine, path: Path) -> dict[str, int]:
    """Write devices, releases, rollouts, alerts, feedback and records to a new file.

    Returns:
        Rows written by table.

    Raises:
        ConflictError: The file already exists.
    """
    from sqlite_utils import Database

    if path.exists():
        raise ConflictError(
            "HUB-EXPORT-001", f"{path} already exists", cure="name another file"
        )
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    target = Database(part)
    try:
        for table, key in _TABLES:
            target[table.name].create(
                {column.name: column.type.python_type for column in table.columns},
                pk=key,
            )
            target[table.name].insert_all(_rows(engine, table), batch_size=_BATCH)
        for table_name, column, other, other_column in _LINKS:
            target[table_name].add_foreign_key(column, other, other_column, ignore=True)
        target["records"].create_index(["kind", "at"])
        target["alerts"].enable_fts(["summary"], create_triggers=False)
        counts = {table.name: target[table.name].count for table, _ in _TABLES}
    finally:
        target.close()
    part.replace(path)
    return counts


def _rows(engine: Engine, table: Table) -> Iterator[dict[str, Any]]:
    with engine.connect() as db:
        result = db.execution_options(yield_per=_BATCH).execute(select(table))
        for row in result.mappings():
            yield dict(row)
