"""The shedder with a device's files, and what the worker and its sources do then."""

from pathlib import Path

import pytest

from edge_agent.pipeline.pressure import SystemPressure
from edge_agent.pipeline.shedder import Shedder, ShedPorts
from edge_agent.pipeline.shedding import (
    COOL_READINGS,
    HOT_READINGS,
    THINNING,
    Limits,
    Readings,
    Shed,
)
from edge_agent.wire.records import AnyRecord, EventRecord
from tests.fakes.scripted_link import FakeClock


class Board:
    """A device's thermal zones and cgroup, as files."""

    def __init__(self, root: Path) -> None:
        """Make a board with two zones and a quota."""
        self.root = root
        self.celsius(20.0, 20.0)
        self.cgroup = root / "sys/fs/cgroup/system.slice/agent"
        self.cgroup.mkdir(parents=True)
        (root / "proc/self").mkdir(parents=True)
        (root / "proc/self/cgroup").write_text("0::/system.slice/agent\n")
        self.throttled(0, 0)

    def celsius(self, *zones: float) -> None:
        """Set the temperatures."""
        for number, value in enumerate(zones):
            zone = self.root / f"sys/class/thermal/thermal_zone{number}"
            zone.mkdir(parents=True, exist_ok=True)
            (zone / "temp").write_text(f"{value * 1000:.0f}\n")

    def throttled(self, periods: int, throttled: int) -> None:
        """Set the counters since boot."""
        text = f"usage_usec 5\nnr_periods {periods}\nnr_throttled {throttled}\n"
        (self.cgroup / "cpu.stat").write_text(text)


@pytest.fixture
def board(tmp_path: Path) -> Board:
    """A cool board."""
    return Board(tmp_path)


def test_the_hottest_zone_counts(board: Board) -> None:
    """Nonsense and zones that do not answer are no readings."""
    pressure = SystemPressure(board.root)
    board.celsius(41.5, 83.0)
    assert pressure.read().celsius == pytest.approx(83.0)
    board.celsius(41.5, 900.0)
    assert pressure.read().celsius == pytest.approx(41.5)
    (board.root / "sys/class/thermal/thermal_zone0/temp").unlink()
    assert pressure.read().celsius is None


def test_the_quota_is_read_since_the_last_time(board: Board) -> None:
    """Of 100 new periods 30 were cut short; none are new the next time."""
    pressure = SystemPressure(board.root)
    assert pressure.read().throttled_ratio is None
    board.throttled(100, 30)
    assert pressure.read().throttled_ratio == pytest.approx(0.3)
    assert pressure.read().throttled_ratio is None
    (board.cgroup / "cpu.stat").write_text("usage_usec 5\n")
    assert pressure.read().throttled_ratio is None


def test_a_board_without_sensors_tells_nothing(tmp_path: Path) -> None:
    """That is the case in most containers."""
    assert SystemPressure(tmp_path).read() == Readings()


def test_this_machine_can_be_read() -> None:
    """Whatever it has, the answer is plausible."""
    readings = SystemPressure().read()
    assert readings.celsius is None or -40 <= readings.celsius <= 150


def _shedder(board: Board, events: list[AnyRecord]) -> Shedder:
    ports = ShedPorts(
        clock=FakeClock(), read=SystemPressure(board.root).read, emit=events.append
    )
    return Shedder(Limits(hot_c=80.0, cool_c=70.0), ports)


def test_a_hot_board_is_told_of_and_counted(board: Board) -> None:
    """Each level is an event with its readings; what is asked in vain is counted."""
    events: list[AnyRecord] = []
    shedder = _shedder(board, events)
    assert not shedder.leaves_out(Shed.SHADOW)
    board.celsius(20.0, 85.0)
    for _ in range(3 * HOT_READINGS):
        shedder.step()
    assert shedder.leaves_out(Shed.SHADOW)
    assert shedder.leaves_out(Shed.BULK)
    skipped = [shedder.skips(n) for n in range(THINNING + 1)]
    assert skipped == [False, True, True, True, False]
    board.celsius(20.0, 60.0)
    for _ in range(3 * COOL_READINGS):
        shedder.step()
    assert not shedder.leaves_out(Shed.SHADOW)
    view = shedder.view()
    assert view.level is Shed.NOTHING
    assert view.counts == {"shadow": 1, "bulk": 1, "samples": 3}
    told = [e for e in events if isinstance(e, EventRecord)]
    assert [e.facts["level"] for e in told] == [
        "shadow", "bulk", "samples", "bulk", "shadow", "nothing",
    ]  # fmt: skip
    assert {e.code for e in told} == {"AGENT-WORKER-015"}
    assert [e.severity for e in told] == ["warning"] * 3 + ["info"] * 3
    assert "85 degrees" in told[0].text
