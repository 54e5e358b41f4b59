"""One SQLite file for analysis, made with sqlite-utils; opens in Datasette as it is.

The file is a copy for reading, as of one moment: foreign keys and indexes are there,
texts can be searched, and what is a JSON document in the hub's database is unfolded
where people filter by it (see :mod:`hub.export.unfold`).
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, Select, Table, func, select

from hub.errors import ConflictError
from hub.export.unfold import ReadReference, Unfolding
from hub.storage.tables import (
    ALERTS,
    DEVICES,
    FEEDBACK,
    RECORDS,
    RECORDS_OF_STREAMS,
    RELEASES,
    ROLLOUT_EVENTS,
    ROLLOUTS,
    STREAMS,
)

if TYPE_CHECKING:
    from sqlite_utils import Database

_BATCH = 1000
_COPIED: tuple[tuple[Table, str], ...] = (
    (DEVICES, "id"),
    (RELEASES, "release"),
    (ROLLOUTS, "id"),
    (ROLLOUT_EVENTS, "id"),
    (ALERTS, "id"),
    (FEEDBACK, "id"),
    (STREAMS, "id"),
)
_RECORDS = (
    select(RECORDS, STREAMS.c.device, STREAMS.c.boot, STREAMS.c.lane)
    .select_from(RECORDS_OF_STREAMS)
    .order_by(RECORDS.c.id)
)
_MADE: dict[str, dict[str, type]] = {
    "records": {
        **{column.name: column.type.python_type for column in RECORDS.columns},
        **dict.fromkeys(("device", "boot", "lane"), str),
    },
    "profiles": {
        **dict.fromkeys(("record", "release", "rows", "rejected"), int),
        **dict.fromkeys(("device", "reference"), str),
        **dict.fromkeys(("window_start_at", "window_end_at"), float),
    },
    "profile_channels": {
        **dict.fromkeys(("profile", "place", "n"), int),
        "name": str,
        **dict.fromkeys(("mean", "std", "low", "high", "psi"), float),
    },
    "events": {
        "record": int,
        **dict.fromkeys(("device", "code", "severity", "text"), str),
        "at": float,
    },
}
_KEYS: dict[str, str | tuple[str, str]] = {
    "records": "id",
    "profiles": "record",
    "profile_channels": ("profile", "place"),
    "events": "record",
}
_LINKS = (
    ("devices", "release", "releases", "release"),
    ("rollouts", "release", "releases", "release"),
    ("rollout_events", "rollout", "rollouts", "id"),
    ("feedback", "device", "devices", "id"),
    ("streams", "device", "devices", "id"),
    ("records", "device", "devices", "id"),
    ("records", "stream", "streams", "id"),
    ("profiles", "record", "records", "id"),
    ("profiles", "device", "devices", "id"),
    ("profile_channels", "profile", "profiles", "record"),
    ("events", "record", "records", "id"),
    ("events", "device", "devices", "id"),
)
_INDEXES = (
    ("records", ["kind", "at"]),
    ("records", ["device", "at"]),
    ("profiles", ["device", "window_end_at"]),
    ("profiles", ["release", "window_end_at"]),
    ("profile_channels", ["name"]),
    ("feedback", ["release", "device"]),
    ("events", ["code", "at"]),
    ("alerts", ["state", "fired_at"]),
    ("rollout_events", ["rollout"]),
)
_SEARCHED = (
    ("alerts", ["summary"]),
    ("events", ["text"]),
    ("rollout_events", ["reason"]),
)


def export_sqlite(
    engine: Engine, path: Path, read_reference: ReadReference
) -> dict[str, int]:
    """Write what the hub knows to a new file; half a file never has its name.

    Args:
        engine: The hub's database.
        path: The file to write.
        read_reference: Gives the reference profile of a release, ``None`` where it
            is gone: channels then have a number for a name, and no distance.

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
        with engine.connect() as source:
            _copy(source, target, Unfolding(read_reference))
        counts = {
            name: target[name].count
            for name in (*(table.name for table, _ in _COPIED), *_MADE)
        }
    finally:
        target.close()
    part.replace(path)
    return counts


def _copy(source: Connection, target: "Database", unfolding: Unfolding) -> None:
    for table, key in _COPIED:
        types = {column.name: column.type.python_type for column in table.columns}
        target[table.name].create(types, pk=key)
        query = select(table)
        if table is DEVICES:  # 0 is "none yet": no release has that number
            none = func.nullif(DEVICES.c.release, 0).label("release")
            query = select(*(none if c.name == none.name else c for c in table.c))
        target[table.name].insert_all(_rows(source, query), batch_size=_BATCH)
    for name, types in _MADE.items():
        target[name].create(types, pk=_KEYS[name])
    for group in _groups(_rows(source, _RECORDS)):
        target["records"].insert_all(group, batch_size=_BATCH)
        for name, rows in unfolding.unfold(group).items():
            target[name].insert_all(rows, batch_size=_BATCH)
    for name, column, other, other_column in _LINKS:
        target[name].add_foreign_key(column, other, other_column, ignore=True)
    for name, columns in _INDEXES:
        target[name].create_index(columns, if_not_exists=True)
    for name, columns in _SEARCHED:
        target[name].enable_fts(columns, create_triggers=False)


def _rows(source: Connection, query: Select[Any]) -> Iterator[Mapping[str, Any]]:
    result = source.execution_options(yield_per=_BATCH).execute(query)
    for row in result.mappings():
        yield dict(row)


def _groups(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    group: list[Mapping[str, Any]] = []
    for row in rows:
        group.append(row)
        if len(group) == _BATCH:
            yield group
            group = []
    if group:
        yield group
