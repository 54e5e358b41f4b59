"""Keeps the relay's pace up to date, and notes for ``edge-agent status`` what waits.

The integrator's word that the network is metered now is a file, ``metered`` in the
state folder: while it is there, only ``relay.always_lanes`` are sent.
"""

import contextlib
import logging
import time
from pathlib import Path

from edge_agent.base.clock import Clock
from edge_agent.config import RelayConfig
from edge_agent.errors import StoreError
from edge_agent.link.pacing import ALL_LANES, Moment, Pace, decide_lanes
from edge_agent.store.slots import SlotStore
from edge_agent.wire.topics import Lane

RELAY_BULK_WAITS = "relay.bulk_waits"
RELAY_BULK_GOES = "relay.bulk_goes"
METERED_FILE = "metered"
BULK_WAITS = "relay_bulk_waits"
RATE_WAITS = "relay_rate_waits"
LOOK_S = 1.0
NOTE_S = 60.0
"""How often a changed count is written: flash is not worn for a figure."""

log = logging.getLogger(__name__)


class Meter:
    """Decides once a second; belongs to the relay thread."""

    def __init__(self, config: RelayConfig, state_dir: Path, clock: Clock) -> None:
        """Watch ``state_dir``; the pace is decided at the first :meth:`look`."""
        self._config = config
        self._file = state_dir / METERED_FILE
        self._clock = clock
        self._started = clock.mono()
        self._look_at = self._note_at = float("-inf")
        self._noted: dict[str, float] = {}
        self.pace = Pace(config)

    def look(self, slots: SlotStore) -> None:
        """Decide anew which lanes may go, if it is time, and note what changed.

        What cannot be noted, because the disk is full, is tried again at the next
        look: the relay must not stand still for a figure.
        """
        now = self._clock.mono()
        if now < self._look_at:
            return
        self._look_at = now + LOOK_S
        before, self.pace.lanes = self.pace.lanes, self._decide(now)
        waits = self.pace.lanes != ALL_LANES
        if before != self.pace.lanes:
            log.info(
                RELAY_BULK_WAITS if waits else RELAY_BULK_GOES,
                extra={"lanes": sorted(self.pace.lanes)},
            )
        self._note(slots, BULK_WAITS, float(waits))
        if now >= self._note_at:
            self._note_at = now + NOTE_S
            self._note(slots, RATE_WAITS, float(self.pace.waits))

    def _decide(self, now: float) -> frozenset[Lane]:
        wall = self._clock.wall()
        here = time.gmtime if self._config.clock == "utc" else time.localtime
        hour = here(wall)
        moment = Moment(
            wall=wall,
            minute=60 * hour.tm_hour + hour.tm_min,
            running_s=now - self._started,
            metered=self._file.exists(),
        )
        return decide_lanes(self._config, moment)

    def _note(self, slots: SlotStore, key: str, value: float) -> None:
        if self._noted.get(key) == value:
            return
        with contextlib.suppress(StoreError):
            slots.write_number(key, value)
            self._noted[key] = value
