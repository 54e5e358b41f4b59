"""From the sample path to the outbox: records are committed in batches.

The queue is bounded. When the disk is so slow or full that it fills, the caller waits
up to a second (samples slow down); then the record is dropped and counted. A batch
that cannot be committed is kept and tried again, so nothing that was taken is lost
while the process lives.
"""

import logging
import queue
import threading
from collections.abc import Callable

from edge_agent.config import OutboxConfig
from edge_agent.errors import StoreError
from edge_agent.store.outbox import Outbox
from edge_agent.wire.records import AnyRecord

OUTBOX_FAILED = "worker.outbox.failed"
OUTBOX_RECOVERED = "worker.outbox.recovered"
QUEUE_RECORDS = 1024
PUT_TIMEOUT_S = 1.0
MIN_TICK_S = 0.2

log = logging.getLogger(__name__)


class RecordWriter:
    """Collects records of any thread; :meth:`run` commits them on one thread."""

    def __init__(self, config: OutboxConfig, *, depth: int = QUEUE_RECORDS) -> None:
        """Queue at most ``depth`` records."""
        self._config = config
        self._queue: queue.Queue[AnyRecord] = queue.Queue(depth)
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._failing = False
        self.dropped = 0

    def put(self, record: AnyRecord) -> None:
        """Hand over a record; wait a little when the queue is full."""
        try:
            self._queue.put(record, timeout=PUT_TIMEOUT_S)
        except queue.Full:
            self.dropped += 1
        if self._queue.qsize() >= self._config.batch_records:
            self._wake.set()

    def run(
        self, open_outbox: Callable[[], Outbox], tick: Callable[[], None] = lambda: None
    ) -> None:
        """Commit by ``batch_records`` or ``batch_s`` until :meth:`stop`, then the rest.

        ``tick`` is called about every ``batch_s`` on this thread.
        """
        outbox = open_outbox()
        batch: list[AnyRecord] = []
        try:
            while not self._stop.is_set():
                self._gather(batch, max(self._config.batch_s, MIN_TICK_S))
                tick()
                if self._commit(outbox, batch):
                    batch = []
                else:
                    self._stop.wait(max(self._config.batch_s, MIN_TICK_S))
            while not self._queue.empty():
                batch.append(self._queue.get_nowait())
            self._commit(outbox, batch)
        finally:
            outbox.close()

    def stop(self) -> None:
        """Let :meth:`run` commit what is queued and return."""
        self._stop.set()
        self._wake.set()

    def _gather(self, batch: list[AnyRecord], wait_s: float) -> None:
        """Wait for a full batch, the end of its time, or a stop; then fill it."""
        if self._queue.qsize() + len(batch) < self._config.batch_records:
            self._wake.wait(wait_s)
        self._wake.clear()
        while len(batch) < self._config.batch_records:
            try:
                batch.append(self._queue.get_nowait())
            except queue.Empty:
                return

    def _commit(self, outbox: Outbox, batch: list[AnyRecord]) -> bool:
        try:
            outbox.append(batch)
        except StoreError as error:
            if not self._failing:
                log.warning(OUTBOX_FAILED, extra={"why": str(error)})
            self._failing = True
            return False
        if self._failing:
            log.info(OUTBOX_RECOVERED)
        self._failing = False
        return True
