"""Steps everything that is not telemetry; one step's failure is no other's.

Each step is guarded: what fails is logged with its reason and tried again after a
pause that grows, while the other steps go on. Only a broken database ends the thread,
and with it the hub. ``hub/service.py`` runs :meth:`Ticker.run` in the ticker thread.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event

from hub.faults import Fault, classify

log = logging.getLogger(__name__)

DATABASE_BUSY = "hub.database_busy"
STEP_FAILED = "hub.step_failed"
STEP_RECOVERED = "hub.step_recovered"

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0


@dataclass(slots=True, kw_only=True)
class Step:
    """Named work, done at most every ``period_s``; why it fails now, if it does."""

    name: str
    work: Callable[[], object]
    period_s: float = 0.0
    reason: str = ""
    pause_s: float = 0.0
    next_at: float = float("-inf")


class Ticker:
    """Runs steps in their order, again and again."""

    def __init__(
        self, steps: Sequence[Step], mono: Callable[[], float] = time.monotonic
    ) -> None:
        """Run ``steps``; ``mono`` is the monotonic time in seconds."""
        self.steps = tuple(steps)
        self._mono = mono

    def run(self, stop: Event, tick_s: float) -> None:
        """Tick until ``stop`` is set.

        Raises:
            DatabaseError: The database is broken.
        """
        while not stop.is_set():
            self.tick()
            stop.wait(tick_s)

    def tick(self) -> None:
        """Run each step that is due.

        Raises:
            DatabaseError: The database is broken.
        """
        for step in self.steps:
            if self._mono() >= step.next_at:
                self._run(step)

    def _run(self, step: Step) -> None:
        try:
            step.work()
        except Exception as error:
            fault = classify(error)
            if fault is Fault.BROKEN:
                raise
            self._pause(step, fault, error)
        else:
            step.next_at = self._mono() + step.period_s
            if step.reason:
                log.info(STEP_RECOVERED, extra={"step": step.name})
            step.reason, step.pause_s = "", 0.0

    def _pause(self, step: Step, fault: Fault, error: Exception) -> None:
        """Log a failure once, and wait longer after each."""
        if fault is Fault.BUSY:  # Its driver has waited already.
            step.pause_s = 0.0
        else:
            longer = max(FIRST_PAUSE_S, 2 * step.pause_s)
            step.pause_s = min(longer, LONGEST_PAUSE_S)
        step.next_at = self._mono() + step.pause_s
        reason = f"{fault}: {error.__class__.__name__}: {error}"[:512]
        if not step.reason:
            event = DATABASE_BUSY if fault is Fault.BUSY else STEP_FAILED
            extra = {"step": step.name, "reason": reason}
            log.warning(event, extra=extra, exc_info=fault is Fault.DATA)
        step.reason = reason
