"""The export is one SQLite file that says what the hub's database says."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert

from edge_agent.wire.profile import (
    Channel,
    ChannelMoments,
    ProfileData,
    ReferenceProfile,
    Source,
)
from edge_agent.wire.records import EventRecord, ProfileRecord
from edge_agent.wire.topics import Lane
from hub.errors import ConflictError
from hub.export.file import export_sqlite
from hub.storage.db import open_database, transaction
from hub.storage.streams import StreamKey
from hub.storage.tables import ALERTS, DEVICES
from tests.hub_records import plant

CHANNELS = [
    Channel(name="class", source=Source.CLASS, categories=["walk", "sit"]),
    Channel(name="confidence", source=Source.CONFIDENCE, edges=[0.5]),
]
REFERENCE = ReferenceProfile(
    model="watch",
    channels=CHANNELS,
    data=ProfileData(rows=100, counts=[[50, 50], [0, 100]]),
)
SHA = "a" * 64


def known(release: int, sha256: str) -> ReferenceProfile | None:
    """Return the only reference that there is."""
    return REFERENCE if (release, sha256) == (3, SHA) else None


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """Return a database with a device, an alert, two windows and an event."""
    engine = open_database(f"sqlite:///{tmp_path / 'hub.db'}")
    key = StreamKey(device="d1", boot="0" * 16, lane=Lane.METRIC)
    windows = [
        ProfileRecord(
            at=9.0,
            release=release,
            reference=SHA,
            window_start_at=1.0,
            window_end_at=9.0,
            profile=ProfileData(
                rows=4,
                counts=[[4, 0], [1, 3]],
                moments=[
                    ChannelMoments(n=4, mean=0.0, m2=0.0, low=0.0, high=0.0),
                    ChannelMoments(n=4, mean=0.5, m2=1.0, low=0.0, high=1.0),
                ],
                rejected={"range": 2},
            ),
        )
        for release in (3, 4)
    ]
    event = EventRecord(
        at=9.5, code="AGENT-STORE-002", severity="warning", text="set aside a database"
    )
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
        plant(db, key, [(1, windows[0]), (2, windows[1]), (3, event)], 10.0)
    yield engine
    engine.dispose()


def test_tables_keys_and_full_text_search_are_in_the_file(
    engine: Engine, tmp_path: Path
) -> None:
    """Rows are all there, with their keys, and texts can be searched."""
    counts = export_sqlite(engine, tmp_path / "out.db", known)

    assert counts == counts | {"devices": 1, "alerts": 1, "records": 3, "streams": 1}
    with closing(sqlite3.connect(tmp_path / "out.db")) as db:
        assert db.execute("SELECT DISTINCT device, lane, boot FROM records").fetchall()
        links = {
            (name, row[2])
            for name in ("records", "profiles", "profile_channels", "events")
            for row in db.execute(f"PRAGMA foreign_key_list({name})")
        }
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        indexed = {
            (name, *(c[2] for c in db.execute(f"PRAGMA index_info({index[1]})")))
            for name in counts
            for index in db.execute(f"PRAGMA index_list({name})")
        }
        found = [
            db.execute(f"SELECT count(*) FROM {t}_fts WHERE {t}_fts MATCH ?", (word,))
            for t, word in (("alerts", "moved"), ("events", "database"))
        ]
        assert [one.fetchone() for one in found] == [(1,), (1,)]
    assert indexed >= {
        ("records", "kind", "at"),
        ("records", "device", "at"),
        ("profiles", "device", "window_end_at"),
        ("profile_channels", "name"),
        ("events", "code", "at"),
        ("alerts", "state", "fired_at"),
    }
    assert links == {
        ("records", "devices"),
        ("records", "streams"),
        ("profiles", "devices"),
        ("profiles", "records"),
        ("profile_channels", "profiles"),
        ("events", "devices"),
        ("events", "records"),
    }


def test_profiles_are_unfolded_by_window_and_channel(
    engine: Engine, tmp_path: Path
) -> None:
    """Names and distances come from the reference; without it only they are missing."""
    export_sqlite(engine, tmp_path / "out.db", known)

    with closing(sqlite3.connect(tmp_path / "out.db")) as db:
        windows = db.execute(
            "SELECT device, release, rows, rejected FROM profiles ORDER BY release"
        ).fetchall()
        channels = db.execute(
            "SELECT release, name, n, mean, std, psi > 0 FROM profile_channels"
            " JOIN profiles ON profile = record ORDER BY release, place"
        ).fetchall()
    assert windows == [("d1", 3, 4, 2), ("d1", 4, 4, 2)]
    assert channels == [
        (3, "class", 4, 0.0, 0.0, 1),
        (3, "confidence", 4, 0.5, 0.5, 1),
        (4, "channel 0", 4, 0.0, 0.0, None),
        (4, "channel 1", 4, 0.5, 0.5, None),
    ]


def test_a_file_that_exists_is_left_alone(engine: Engine, tmp_path: Path) -> None:
    """An export never overwrites anything."""
    target = tmp_path / "out.db"
    target.write_text("mine", "utf-8")

    with pytest.raises(ConflictError, match="HUB-EXPORT-001"):
        export_sqlite(engine, target, known)

    assert target.read_text("utf-8") == "mine"
