"""A disk that takes nothing for a while: said once, counted, reported in the end."""

import logging

from edge_agent.base.clock import Clock
from edge_agent.wire.records import EventRecord

STORE_FAILED = "store.failed"
STORE_RECOVERED = "store.recovered"
NOT_STORED = "AGENT-STORE-010"

log = logging.getLogger(__name__)


class StoreTrouble:
    """What could not be stored since the disk failed; one thread calls it."""

    def __init__(self, clock: Clock) -> None:
        """Start without trouble."""
        self._clock = clock
        self._since: float | None = None
        self._lost = 0

    def failed(self, error: Exception, *, lost: int = 0) -> None:
        """Take note of a failure; the first one of a trouble is logged."""
        self._lost += lost
        if self._since is None:
            self._since = self._clock.mono()
            log.error(STORE_FAILED, extra={"error": str(error)})

    @property
    def present(self) -> bool:
        """Whether the disk has failed and this is not reported yet."""
        return self._since is not None

    def report(self, dropped: int) -> EventRecord:
        """Return what to commit once the disk takes records again.

        Args:
            dropped: Records that the worker has dropped since it started.
        """
        began = self._clock.mono() if self._since is None else self._since
        lasted, lost = self._clock.mono() - began, self._lost
        facts = {
            "heartbeats_lost": str(lost),
            "records_dropped": str(dropped),
            "lasted_s": f"{lasted:.1f}",
        }
        return EventRecord(
            at=self._clock.wall(),
            code=NOT_STORED,
            severity="critical",
            text=f"nothing could be stored for {lasted:.0f} s: the disk was full or not"
            f" writable; {lost} heartbeats are lost, {dropped} records were dropped",
            facts=facts,
        )

    def over(self) -> None:
        """Take note that the report is committed."""
        self._since, self._lost = None, 0
        log.info(STORE_RECOVERED)
