"""The watchdog: asks the worker for a real inference, and ends a worker that hangs.

A hung worker is not a dead one: its process is there, its socket may even accept. Two
questions in a row that bring no answer, or the answer that a model is hung, are taken
for a hang; the child's own watcher then starts another one. A worker that has never
answered is given time to load its models. One thread calls it.
"""

import logging
import threading
from collections.abc import Callable
from typing import Protocol

from edge_agent.base.clock import Clock
from edge_agent.child import Death
from edge_agent.errors import AgentError
from edge_agent.serve.client import UNREACHABLE
from edge_agent.serve.protocol import TOO_MANY_CONNECTIONS
from edge_agent.wire.records import EventRecord

WORKER_HUNG = "worker.hung"
START_S = 30.0
"""How long a fresh worker may take until its first answer."""
RETRY_S = 0.5
PATIENCE = 2

log = logging.getLogger(__name__)


class Watched(Protocol):
    """A process that is started again whenever it ends."""

    @property
    def present(self) -> tuple[int, float]:
        """Process id (0: none), and monotonic time of its start."""
        ...

    def kill_hung(self, pid: int, what: str, alive_at: float) -> None:
        """End the process ``pid``, which was last known to live at ``alive_at``."""
        ...


class Watchdog:
    """Watches one child after another."""

    def __init__(
        self,
        child: Watched,
        ask: Callable[[], None],
        clock: Clock,
        *,
        period_s: float,
        on_answer: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare.

        Args:
            child: The worker process.
            ask: Has the worker infer something; raises an ``AgentError`` where it does
                not, after a deadline of its own.
            clock: Time.
            period_s: Time from an answer to the next question.
            on_answer: Called at every answer: the device can infer.
        """
        self._child = child
        self._ask = ask
        self._clock = clock
        self._period_s = period_s
        self._on_answer = on_answer
        self._pid = 0
        self._answered_at: float | None = None
        self._failures = 0

    def run(self, stop: threading.Event) -> None:
        """Watch until told to stop."""
        pause_s = RETRY_S
        while not stop.wait(pause_s):
            pause_s = self.step()

    def step(self) -> float:
        """Ask once; return after how many seconds to ask again."""
        pid, started = self._child.present
        if pid != self._pid:
            self._pid, self._answered_at, self._failures = pid, None, 0
        if not pid:
            return RETRY_S
        try:
            self._ask()
        except AgentError as error:
            # Local clients took every connection: that says nothing of the models.
            if error.code != TOO_MANY_CONNECTIONS:
                self._note_failure(started, error)
                return RETRY_S
        self._answered_at, self._failures = self._clock.mono(), 0
        self._on_answer()
        return self._period_s

    def _note_failure(self, started: float, error: AgentError) -> None:
        self._failures += 1
        alive_at = started if self._answered_at is None else self._answered_at
        is_loading = (
            self._answered_at is None
            and error.code == UNREACHABLE
            and self._clock.mono() - started < START_S
        )
        if self._failures < PATIENCE or is_loading:
            return
        log.error(WORKER_HUNG, extra={"pid": self._pid, "why": str(error)})
        self._child.kill_hung(self._pid, error.text, alive_at)


def death_event(death: Death, at: float, *, restarts: int) -> EventRecord:
    """Return what the hub hears of a worker that died or was killed."""
    if death.hung:
        code, text = "AGENT-WORKER-014", f"hung and was killed: {death.hung}"
    else:
        code, text = "AGENT-WORKER-002", f"died (status {death.status})"
    return EventRecord(
        at=at,
        code=code,
        severity="warning",
        text=f"the inference worker {text}; it is restarted"[:1000],
        facts={"restarts": str(restarts)},
    )
