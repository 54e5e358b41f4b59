"""The relay: sends what the outbox holds, and forgets only what the hub committed.

It decides what to send next and when to send again. Invariants: a record is deleted
only on an acknowledgement; batches are contiguous runs of one stream; at most
``WINDOW`` batches of a stream are unacknowledged; lanes go by priority, oldest boot
first; a batch is not sent again while an acknowledgement may still be under way. On a
gap, a new session or silence it rewinds to the oldest record held.

One thread calls it; it does no waiting.
"""

import logging
from collections import deque
from dataclasses import dataclass, field

from edge_agent.base.clock import Clock
from edge_agent.link.port import Link
from edge_agent.store.outbox import Outbox, Stream
from edge_agent.wire.batch import BatchHeader, encode_batch
from edge_agent.wire.control import Ack
from edge_agent.wire.topics import Lane, up

RELAY_REWOUND = "relay.rewound"
MAX_RECORDS = 64
MAX_BYTES = 256 * 1024
WINDOW = 4
REWIND_PAUSE_S = 0.5

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Cursor:
    """How far a stream was sent: ``hi`` of each batch in flight, and since when."""

    sent: int = 0
    flying: deque[int] = field(default_factory=deque)
    quiet_since: float = 0.0
    rewound_at: float = float("-inf")


class Relay:
    """Sends one outbox over one link."""

    def __init__(
        self,
        device: str,
        outbox: Outbox,
        link: Link,
        clock: Clock,
        *,
        resend_after_s: float,
    ) -> None:
        """Wire the relay up; ``resend_after_s`` is how long silence is borne."""
        self._device = device
        self._outbox = outbox
        self._link = link
        self._clock = clock
        self._resend_after_s = resend_after_s
        self._cursors: dict[tuple[str, Lane], _Cursor] = {}

    def on_up(self) -> None:
        """Start over: what was in flight in the old session may be lost."""
        self._cursors.clear()

    def on_ack(self, ack: Ack) -> None:
        """Delete what the hub committed; rewind where it found a gap.

        Raises:
            StoreError: The database cannot be written; the records stay.
        """
        self._outbox.delete_upto(ack.boot, ack.lane, ack.upto)
        cursor = self._cursors.get((ack.boot, ack.lane))
        if cursor is None:
            return
        now = self._clock.mono()
        if cursor.flying and cursor.flying[0] <= ack.upto:
            cursor.quiet_since = now
        while cursor.flying and cursor.flying[0] <= ack.upto:
            cursor.flying.popleft()
        if ack.gap and ack.upto < cursor.sent:
            self._rewind(cursor, ack.lane, "gap", pause_s=REWIND_PAUSE_S)

    def pump(self) -> int:
        """Send what may be sent now; return how many batches that were.

        Raises:
            StoreError: The database cannot be read.
        """
        if not self._link.connected:
            return 0
        sent = 0
        streams = self._outbox.streams()
        held = {(stream.boot, stream.lane) for stream in streams}
        for key in self._cursors.keys() - held:
            del self._cursors[key]
        for stream in streams:
            count, refused = self._pump_stream(stream)
            sent += count
            if refused:
                break
        return sent

    def _pump_stream(self, stream: Stream) -> tuple[int, bool]:
        cursor = self._cursors.setdefault((stream.boot, stream.lane), _Cursor())
        now = self._clock.mono()
        silent = cursor.flying and now - cursor.quiet_since >= self._resend_after_s
        if silent or (cursor.sent >= stream.last_seq and not cursor.flying):
            # Sent in full, nothing in flight, and still held: an ack covers less than
            # was sent. Both cases begin again with the oldest record.
            self._rewind(cursor, stream.lane, "silence", pause_s=self._resend_after_s)
        cursor.sent = max(cursor.sent, stream.lowest - 1)
        count = 0
        while len(cursor.flying) < WINDOW and cursor.sent < stream.last_seq:
            rows = self._outbox.read(
                stream.boot,
                stream.lane,
                cursor.sent,
                max_records=MAX_RECORDS,
                max_bytes=MAX_BYTES,
            )
            if not rows or rows[0][0] != cursor.sent + 1:
                break  # evicted since; the next pump sees the new lowest
            if not self._publish(stream, rows):
                return count, True
            if not cursor.flying:
                cursor.quiet_since = now
            cursor.sent = rows[-1][0]
            cursor.flying.append(cursor.sent)
            count += 1
        return count, False

    def _publish(self, stream: Stream, rows: list[tuple[int, bytes]]) -> bool:
        header = BatchHeader(
            boot=stream.boot,
            lane=stream.lane,
            base=stream.lowest - 1,
            lo=rows[0][0],
            hi=rows[-1][0],
            evicted=stream.evicted,
            wall_at=self._clock.wall(),
            mono_s=self._clock.mono(),
        )
        payload = encode_batch(header, rows)
        return self._link.publish(up(self._device, stream.lane), payload)

    def _rewind(self, cursor: _Cursor, lane: Lane, why: str, *, pause_s: float) -> None:
        now = self._clock.mono()
        if now - cursor.rewound_at < pause_s:
            return
        log.debug(RELAY_REWOUND, extra={"lane": lane.value, "why": why})
        cursor.rewound_at = now
        cursor.quiet_since = now
        cursor.sent = 0
        cursor.flying.clear()
