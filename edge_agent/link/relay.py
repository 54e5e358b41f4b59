"""The relay: sends what the outbox holds, and forgets only what the hub committed.

It decides what to send next and when to send again. Invariants: a record is deleted
only on an acknowledgement; batches are contiguous runs of one stream; at most
``WINDOW`` batches of a stream are unacknowledged; lanes go by priority, oldest boot
first; a batch is not sent again while an acknowledgement may still be under way.
``pacing`` says which lanes may go, and how fast; alerts never wait for the rate.

Where it cannot know what arrived (an older boot's stream, a new session, silence), or
whether a hub listens (nothing was heard of it in this session), it *asks* before it
sends: a batch without records, which the hub answers with its watermark. Brokers keep
the order, so the answer comes after what the broker still held for the hub, and none
of that is sent twice. On a gap it rewinds to the oldest record.

One thread calls it; it does no waiting.
"""

import logging
import secrets
import sys
from collections import deque
from dataclasses import dataclass, field

from edge_agent.base.clock import Clock
from edge_agent.config import RelayConfig
from edge_agent.link.pacing import Pace
from edge_agent.link.port import Link, Refused
from edge_agent.link.refusal import TOO_LARGE, explain
from edge_agent.store.outbox import Outbox, Stream
from edge_agent.wire.batch import BatchHeader, encode_batch
from edge_agent.wire.control import Ack
from edge_agent.wire.topics import Lane, parse, up

RELAY_ASKED = "relay.asked"
RELAY_REWOUND = "relay.rewound"
RELAY_BLOCKED = "relay.blocked"
MAX_RECORDS = 64
WINDOW = 4
REWIND_PAUSE_S = 0.5
ASK_AGAIN_S = 1.0
"""How long the first answer is waited for; then twice as long, to the silence borne."""

log = logging.getLogger(__name__)
Rows = list[tuple[int, bytes]]


@dataclass(slots=True)
class _Cursor:
    """How far a stream was sent: ``hi`` of each batch in flight, and since when.

    While ``asking`` is not 0, nothing but this question is sent. It is a random number:
    answers to what an earlier session or process asked may still come.
    """

    sent: int = 0
    flying: deque[int] = field(default_factory=deque)
    quiet_since: float = 0.0
    rewound_at: float = float("-inf")
    asking: int = 0
    ask_at: float = 0.0
    ask_again_s: float = ASK_AGAIN_S

    def ask(self, now: float) -> None:
        """Send nothing more before the hub has said how far it is."""
        self.asking = secrets.randbits(52) + 1
        self.ask_at = now
        self.ask_again_s = ASK_AGAIN_S
        self.flying.clear()

    def answered(self, upto: int, now: float) -> None:
        """Go on after what the hub has."""
        self.asking = 0
        self.sent = upto
        self.quiet_since = now


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
        self.pace = Pace(RelayConfig())
        """Which lanes may go, and how fast; at first all at once."""
        self._cursors: dict[tuple[str, Lane], _Cursor] = {}
        self._heard = False
        self._too_large = sys.maxsize
        self._blocked: set[str] = set()

    def on_up(self) -> None:
        """Ask anew: what was in flight in the old session may have arrived or not."""
        now = self._clock.mono()
        self._heard = False
        for cursor in self._cursors.values():
            cursor.ask(now)

    def on_ack(self, ack: Ack) -> None:
        """Delete what the hub committed; rewind where it found a gap.

        Raises:
            StoreError: The database cannot be written; the records stay.
        """
        self._heard = True
        self._outbox.delete_upto(ack.boot, ack.lane, ack.upto)
        cursor = self._cursors.get((ack.boot, ack.lane))
        if cursor is None:
            return
        now = self._clock.mono()
        if cursor.asking:
            if ack.ask == cursor.asking:
                cursor.answered(ack.upto, now)
            return
        if cursor.flying and cursor.flying[0] <= ack.upto:
            cursor.quiet_since = now
        while cursor.flying and cursor.flying[0] <= ack.upto:
            cursor.flying.popleft()
        if ack.gap and ack.upto < cursor.sent:
            self._rewind(cursor, ack.lane)

    def on_refused(self, refused: Refused) -> None:
        """Take back what the broker refused: after a pause the hub is asked anew.

        What is too large for the broker is sent in smaller batches from then on.
        """
        address = parse(refused.topic)
        if address is None:
            return
        if refused.number == TOO_LARGE:
            self._too_large = min(self._too_large, refused.size_bytes)
        now = self._clock.mono()
        for (_, lane), cursor in self._cursors.items():
            if lane is address.kind:
                cursor.ask(now)
                cursor.ask_at = now + self._resend_after_s

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
            if stream.lane not in self.pace.lanes:
                continue
            count, refused = self._pump_stream(stream)
            sent += count
            if refused:
                break
        return sent

    def may_drain(self) -> bool:
        """Whether anything is held of a lane that may be sent now.

        Raises:
            StoreError: The database cannot be read.
        """
        return any(s.lane in self.pace.lanes for s in self._outbox.streams())

    def _pump_stream(self, stream: Stream) -> tuple[int, bool]:
        cursor = self._cursor(stream)
        now = self._clock.mono()
        silent = cursor.flying and now - cursor.quiet_since >= self._resend_after_s
        if not cursor.asking and (
            silent or (cursor.sent >= stream.last_seq and not cursor.flying)
        ):
            # Sent in full, nothing in flight, and still held: an ack covers less than
            # was sent. In both cases only the hub knows where to begin again.
            cursor.ask(now)
        if cursor.asking:
            return self._ask(stream, cursor, now)
        cursor.sent = max(cursor.sent, stream.lowest - 1)
        count = 0
        while len(cursor.flying) < WINDOW and cursor.sent < stream.last_seq:
            if not self.pace.may_send(stream.lane, now):
                return count, True
            rows = self._outbox.read(
                stream.boot,
                stream.lane,
                cursor.sent,
                max_records=MAX_RECORDS,
                max_bytes=self.pace.max_batch_bytes,
            )
            if not rows or rows[0][0] != cursor.sent + 1:
                break  # evicted since; the next pump sees the new lowest
            rows, payload = self._fit(stream, rows)
            if not payload:
                break
            if not self._publish(stream, payload):
                return count, True
            if not cursor.flying:
                cursor.quiet_since = now
            cursor.sent = rows[-1][0]
            cursor.flying.append(cursor.sent)
            count += 1
        return count, False

    def _cursor(self, stream: Stream) -> _Cursor:
        key = (stream.boot, stream.lane)
        cursor = self._cursors.get(key)
        if cursor is None:
            cursor = self._cursors[key] = _Cursor()
            if stream.boot != self._outbox.boot or not self._heard:
                cursor.ask(self._clock.mono())
        return cursor

    def _ask(self, stream: Stream, cursor: _Cursor, now: float) -> tuple[int, bool]:
        """Ask how far the hub is, if it is time; the answer is an acknowledgement."""
        if now < cursor.ask_at:
            return 0, False
        if not self.pace.may_send(stream.lane, now):
            return 0, True
        if not self._publish(stream, self._encode(stream, [], ask=cursor.asking)):
            return 0, True
        log.debug(RELAY_ASKED, extra={"lane": stream.lane.value})
        cursor.ask_at = now + cursor.ask_again_s
        cursor.ask_again_s = min(2 * cursor.ask_again_s, self._resend_after_s)
        return 1, False

    def _fit(self, stream: Stream, rows: Rows) -> tuple[Rows, bytes]:
        """Halve a batch until the broker takes it; no payload: one record does not fit.

        Such a record blocks its stream, which is reported once, until it is evicted
        or the broker takes more: leaving it out would be a loss.
        """
        topic = up(self._device, stream.lane)
        while rows:
            payload = self._encode(stream, rows)
            if len(payload) < self._too_large and self._link.fits(topic, payload):
                return rows, payload
            if len(rows) == 1:
                self._say_blocked(topic, len(payload))
            rows = rows[: len(rows) // 2]
        return [], b""

    def _say_blocked(self, topic: str, size: int) -> None:
        if topic not in self._blocked:
            self._blocked.add(topic)
            refusal = explain(
                Refused(
                    topic=topic,
                    number=TOO_LARGE,
                    reason="one record is larger than it takes",
                    size_bytes=size,
                )
            )
            log.error(RELAY_BLOCKED, extra=refusal.facts())

    def _encode(self, stream: Stream, rows: Rows, *, ask: int = 0) -> bytes:
        header = BatchHeader(
            boot=stream.boot,
            lane=stream.lane,
            base=stream.lowest - 1,
            lo=rows[0][0] if rows else stream.last_seq + 1,
            hi=rows[-1][0] if rows else stream.last_seq,
            evicted=stream.evicted,
            ask=ask,
            wall_at=self._clock.wall(),
            mono_s=self._clock.mono(),
        )
        return encode_batch(header, rows)

    def _publish(self, stream: Stream, payload: bytes) -> bool:
        topic = up(self._device, stream.lane)
        if not self._link.publish(topic, payload):
            return False
        self.pace.charge(len(topic) + len(payload), self._clock.mono())
        return True

    def _rewind(self, cursor: _Cursor, lane: Lane) -> None:
        now = self._clock.mono()
        if now - cursor.rewound_at < REWIND_PAUSE_S:
            return
        log.debug(RELAY_REWOUND, extra={"lane": lane.value})
        cursor.rewound_at = now
        cursor.quiet_since = now
        cursor.sent = 0
        cursor.flying.clear()
