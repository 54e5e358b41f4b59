"""How hot the device is and how much its processor is held back, as Linux tells it.

``/sys/class/thermal/thermal_zone*/temp`` (thousandths of a degree), and ``cpu.stat`` of
the process's own cgroup (version 2), which counts only where a quota (``cpu.max``) is
set. What is not there, or says nonsense, is no reading.
"""

import contextlib
from pathlib import Path

from edge_agent.pipeline.shedding import Readings

PLAUSIBLE_C = (-40.0, 150.0)


class SystemPressure:
    """Reads the system; one thread calls it."""

    def __init__(self, root: Path = Path("/")) -> None:
        """Read below ``root``."""
        self._zones = sorted((root / "sys/class/thermal").glob("thermal_zone*/temp"))
        self._cpu_stat = _cpu_stat(root)
        self._last: tuple[int, int] | None = None

    def read(self) -> Readings:
        """Return the present readings."""
        return Readings(celsius=self._celsius(), throttled_ratio=self._throttled())

    def _celsius(self) -> float | None:
        low, high = PLAUSIBLE_C
        found = []
        for zone in self._zones:
            # A zone may refuse to answer, for example while its device sleeps.
            with contextlib.suppress(OSError, ValueError):
                celsius = int(zone.read_text("ascii")) / 1000
                if low <= celsius <= high:
                    found.append(celsius)
        return max(found, default=None)

    def _throttled(self) -> float | None:
        if self._cpu_stat is None:
            return None
        try:
            lines = self._cpu_stat.read_text("ascii").splitlines()
            stat = dict(line.split(" ", 1) for line in lines)
            now = int(stat["nr_periods"]), int(stat["nr_throttled"])
        except (OSError, ValueError, KeyError):
            return None
        last, self._last = self._last, now
        if last is None or now[0] <= last[0]:
            return None
        return min(max((now[1] - last[1]) / (now[0] - last[0]), 0.0), 1.0)


def _cpu_stat(root: Path) -> Path | None:
    """Return where the quota of this process's cgroup is accounted for."""
    try:
        lines = (root / "proc/self/cgroup").read_text("ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    for line in lines:
        if line.startswith("0::/"):
            return root / "sys/fs/cgroup" / line[4:] / "cpu.stat"
    return None
