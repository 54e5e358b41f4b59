"""The export is one SQLite file that says what the hub's database says."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import insert

from hub.errors import ConflictError
from hub.export import export_sqlite
from hub.storage.db import open_database, transaction
from hub.storage.tables import ALERTS, DEVICES


def test_tables_keys_and_full_text_search_are_in_the_file(tmp_path: Path) -> None:
    """Rows are all there, and alerts can be searched by their text."""
    engine = open_database(f"sqlite:///{tmp_path / 'hub.db'}")
    with transaction(engine) as db:
        db.execute(insert(DEVICES).values(id="d1", first_seen_at=1.0, last_seen_at=2.0))
        db.execute(
            insert(ALERTS).values(
                fingerprint="f",
                rule="drift",
                release=1,
                cohort="ward-b",
                state="firing",
                severity="warning",
                summary="accel_x.mean moved",
                evidence="{}",
                pending_at=1.0,
                updated_at=1.0,
            )
        )

    counts = export_sqlite(engine, tmp_path / "out.db")
    engine.dispose()

    assert (counts["devices"], counts["alerts"], counts["records"]) == (1, 1, 0)
    with closing(sqlite3.connect(tmp_path / "out.db")) as db:
        assert db.execute("SELECT id FROM devices").fetchall() == [("d1",)]
        assert db.execute("PRAGMA foreign_key_list(feedback)").fetchall()
        found = db.execute(
            "SELECT count(*) FROM alerts_fts WHERE alerts_fts MATCH 'moved'"
        ).fetchone()
    assert found == (1,)


def test_a_file_that_exists_is_left_alone(tmp_path: Path) -> None:
    """An export never overwrites anything."""
    engine = open_database(f"sqlite:///{tmp_path / 'hub.db'}")
    target = tmp_path / "out.db"
    target.write_text("mine", "utf-8")

    with pytest.raises(ConflictError, match="HUB-EXPORT-001"):
        export_sqlite(engine, target)

    engine.dispose()
    assert target.read_text("utf-8") == "mine"
