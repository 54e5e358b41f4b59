"""What the hub makes of devices on an imported release without drift channels."""

import sqlite3
from pathlib import Path

import numpy as np
from click.testing import CliRunner
from sqlalchemy import insert

from edge_agent.base.clock import SystemClock
from edge_agent.sketch.profile import WindowProfile
from edge_agent.wire.records import ProfileRecord
from edge_agent.wire.topics import Lane
from hub.alerts.service import list_incidents
from hub.cli import cli
from hub.config import Home, HubConfig, MonitorConfig
from hub.home import create_home
from hub.monitor.scoring import Verdict
from hub.monitor.service import MonitorService
from hub.service import open_services
from hub.storage.db import transaction
from hub.storage.streams import StreamKey
from hub.storage.tables import DEVICES
from tests.hub_records import plant

MODEL = Path(__file__).parents[1] / "data" / "kinds" / "pump.tflite"
CONFIG = HubConfig(monitor=MonitorConfig(baseline_rows=100, recent_rows=100))
NAMES = [f"d{n}" for n in range(4)]


def test_devices_without_channels_are_counted_and_never_called_clean(
    tmp_path: Path,
) -> None:
    """Windows are stored and exported; drift stays unknown and no alert comes."""
    home = Home(tmp_path / "home")
    create_home(home, SystemClock())
    words = ["--home", str(home.path), "releases", "import", str(MODEL)]
    assert CliRunner().invoke(cli, words).exit_code == 0
    services = open_services(home)
    engine = services.engine
    bundle = services.releases.get(1).manifest.bundle
    now = SystemClock().wall()
    seen = {"release": 1, "first_seen_at": now, "last_seen_at": now, "cohort": "all"}
    with transaction(engine) as connection:
        connection.execute(insert(DEVICES), [{"id": name, **seen} for name in NAMES])
    for seq in range(1, 6):
        for name in NAMES:
            profile = WindowProfile([])
            profile.reject("inputs")
            for _ in range(60):
                profile.add(profile_values(), 12.0)
            record = ProfileRecord(
                at=now,
                release=1,
                reference=bundle.reference.sha256,
                window_start_at=now - 1,
                window_end_at=now,
                profile=profile.to_wire(),
            )
            key = StreamKey(device=name, boot="0123456789abcdef", lane=Lane.METRIC)
            with transaction(engine) as connection:
                plant(connection, key, [(seq, record)], now)
    monitor = MonitorService(engine, home, CONFIG, SystemClock())

    monitor.tick()

    scores = monitor.scores(1)
    assert {score.verdict for score in scores.values()} == {Verdict.TOO_LITTLE}
    assert {score.baseline_rows for score in scores.values()} == {120}
    assert list_incidents(engine) == []
    engine.dispose()
    out = tmp_path / "out.db"
    words = ["--home", str(home.path), "export", "--sqlite", str(out)]
    assert CliRunner().invoke(cli, words).exit_code == 0
    with sqlite3.connect(out) as exported:
        rows = exported.execute("SELECT SUM(rows) FROM profiles").fetchone()
    exported.close()
    assert rows == (4 * 5 * 60,)


def profile_values() -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the values of no channels."""
    return np.empty(0)
