"""The worker's shedder: reads the device, decides, counts what is left out, tells.

One thread runs it; whoever may be left out asks it, from any thread. A level that
changes is an event for the hub, so an operator knows why a device does less.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from edge_agent.base.clock import Clock
from edge_agent.pipeline.shedding import (
    THINNING,
    Limits,
    Pressure,
    Readings,
    Shed,
    decide_shed,
    tell_readings,
)
from edge_agent.wire.control import LEFT_OUT
from edge_agent.wire.records import AnyRecord, EventRecord

SHED_CHANGED = "shedding.changed"
PERIOD_S = 5.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShedPorts:
    """What the shedder needs of the worker."""

    clock: Clock
    read: Callable[[], Readings]
    emit: Callable[[AnyRecord], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShedView:
    """What health tells of it."""

    level: Shed = Shed.NOTHING
    readings: Readings = Readings()
    counts: dict[str, int] = field(default_factory=dict)


class Shedder:
    """The present level, and what was left out because of it."""

    def __init__(
        self, limits: Limits, ports: ShedPorts, *, period_s: float = PERIOD_S
    ) -> None:
        """Start with nothing left out."""
        self._limits = limits
        self._ports = ports
        self._period_s = period_s
        self._pressure = Pressure()
        self._readings = Readings()
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def run(self, stop: threading.Event) -> None:
        """Read the device every few seconds until told to stop."""
        while not stop.wait(self._period_s):
            self.step()

    def step(self) -> None:
        """Take one reading."""
        readings = self._ports.read()
        before = self._pressure.level
        self._pressure = decide_shed(self._pressure, readings, self._limits)
        self._readings = readings
        if self._pressure.level is not before:
            self._tell(before)

    def leaves_out(self, what: Shed) -> bool:
        """Tell whether something of this level is left out now; if so, count it."""
        if self._pressure.level < what:
            return False
        with self._lock:
            self._counts[what.name.lower()] += 1
        return True

    def skips(self, number: int) -> bool:
        """Tell whether sample ``number`` of a source is left out; if so, count it."""
        return number % THINNING != 0 and self.leaves_out(Shed.SAMPLES)

    def view(self) -> ShedView:
        """Return what health tells."""
        with self._lock:
            counts = dict(self._counts)
        return ShedView(
            level=self._pressure.level, readings=self._readings, counts=counts
        )

    def _tell(self, before: Shed) -> None:
        level, readings = self._pressure.level, self._readings
        why = tell_readings(readings)
        log.warning(SHED_CHANGED, extra={"level": level.name, "readings": why})
        event = EventRecord(
            at=self._ports.clock.wall(),
            code="AGENT-WORKER-015",
            severity="warning" if level > before else "info",
            text=f"the device leaves out {LEFT_OUT[level.told]} ({why})",
            facts={"level": level.name.lower(), "readings": why},
        )
        self._ports.emit(event)
