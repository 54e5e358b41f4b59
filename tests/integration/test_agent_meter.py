"""What ``edge-agent status`` is told of the relay's pace, over a real database."""

import contextlib
import sqlite3
from pathlib import Path

from edge_agent.config import RelayConfig
from edge_agent.link.meter import (
    BULK_WAITS,
    LOOK_S,
    METERED_FILE,
    NOTE_S,
    RATE_WAITS,
    Meter,
)
from edge_agent.link.pacing import ALL_LANES
from edge_agent.store.slots import SlotStore
from edge_agent.wire.topics import Lane
from tests.fakes.scripted_link import FakeClock

NOON = 1_790_078_400.0  # 2026-09-22 12:00:00 UTC


def test_the_metered_file_closes_the_bulk_lanes_while_it_is_there(
    tmp_path: Path,
) -> None:
    """An integrator's file is noticed within a second, and so is that it went."""
    slots, clock = SlotStore(tmp_path / "agent.db"), FakeClock()
    clock.now = NOON
    meter = Meter(RelayConfig(), tmp_path, clock)
    meter.look(slots)
    assert meter.pace.lanes == ALL_LANES

    (tmp_path / METERED_FILE).touch()
    clock.now += LOOK_S
    meter.look(slots)
    assert meter.pace.lanes == {Lane.ALERT, Lane.STATE}
    assert slots.read_number(BULK_WAITS) == 1.0

    (tmp_path / METERED_FILE).unlink()
    clock.now += LOOK_S
    meter.look(slots)
    assert meter.pace.lanes == ALL_LANES
    assert slots.read_number(BULK_WAITS) == 0.0
    slots.close()


def test_windows_open_and_close_with_the_clock(tmp_path: Path) -> None:
    """In UTC the lanes open at the window's start and close at its end."""
    slots, clock = SlotStore(tmp_path / "agent.db"), FakeClock()
    config = RelayConfig(bulk_windows=["12:01-12:02"], clock="utc")
    clock.now = NOON
    meter = Meter(config, tmp_path, clock)
    seen = []
    for _ in range(3):
        meter.look(slots)
        seen.append(meter.pace.lanes == ALL_LANES)
        clock.now += 60.0
    slots.close()

    assert seen == [False, True, False]


def test_a_count_is_noted_once_a_minute(tmp_path: Path) -> None:
    """Waits for the rate reach the database, though not each of them."""
    slots, clock = SlotStore(tmp_path / "agent.db"), FakeClock()
    clock.now = NOON
    meter = Meter(RelayConfig(max_bytes_per_s=1), tmp_path, clock)
    meter.look(slots)
    meter.pace.charge(100, clock.now)
    assert not meter.pace.may_send(Lane.METRIC, clock.now)
    clock.now += LOOK_S
    meter.look(slots)
    early = slots.read_number(RATE_WAITS)
    clock.now += NOTE_S
    meter.look(slots)

    assert (early, slots.read_number(RATE_WAITS)) == (0.0, 1.0)
    slots.close()


def test_a_figure_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    """The pace is decided on a database that refuses writes, and noted later."""
    path = tmp_path / "agent.db"
    slots, clock = SlotStore(path), FakeClock()
    clock.now = NOON
    meter = Meter(RelayConfig(), tmp_path, clock)
    (tmp_path / METERED_FILE).touch()
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("ALTER TABLE meta RENAME TO away")
        meter.look(slots)
        assert meter.pace.lanes == {Lane.ALERT, Lane.STATE}
        other.execute("ALTER TABLE away RENAME TO meta")
    clock.now += LOOK_S
    meter.look(slots)

    assert slots.read_number(BULK_WAITS) == 1.0
    slots.close()
