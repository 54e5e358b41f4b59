"""When the relay may send: a byte rate, and the hours in which bulk lanes may go.

Pure: every function takes the time. Invariants: the alert lane never waits for the
rate, but what it sends is charged, so the lanes below it pay; a batch is never split,
so the bucket may go into debt and is in the black again before the next one; over any
span the other lanes send at most ``burst + rate * span`` bytes and one batch.

A clock that cannot be right says nothing about the hour: bulk lanes wait, because
money that was spent does not come back and what waits is kept. After
``UNTRUSTED_WAIT_S`` they are sent all the same, because an outbox that is full loses
its oldest records. A network that is said to be metered outranks both.
"""

from dataclasses import dataclass, field

from edge_agent.base.clock import EARLIEST_WALL
from edge_agent.config import RelayConfig
from edge_agent.wire.topics import Lane

ALL_LANES = frozenset(Lane)
UNTRUSTED_WAIT_S = 24 * 3600.0
BURST_S = 2.0
MIN_BATCH_BYTES = 4096
MAX_BATCH_BYTES = 256 * 1024
_SQUEEZED = 4
"""What compression makes of a batch, about: a batch is then a second's worth."""


@dataclass(slots=True)
class TokenBucket:
    """Bytes that may be sent: ``rate`` a second, at most ``burst`` saved up."""

    rate: float
    burst: float
    tokens: float = field(init=False)
    at: float = float("-inf")

    def __post_init__(self) -> None:
        """Start full."""
        self.tokens = self.burst

    def ready(self, now: float) -> bool:
        """Tell whether a batch may be sent at ``now`` (monotonic, in seconds)."""
        if now > self.at:
            earned = (now - self.at) * self.rate
            self.tokens = min(self.burst, self.tokens + earned)
            self.at = now
        return self.tokens > 0

    def take(self, size: int, now: float) -> None:
        """Charge ``size`` bytes, whether there are as many or not."""
        self.ready(now)
        self.tokens -= size


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What the pace is decided by.

    ``minute`` is the minute of the day, 0 to 1439, on the clock that the windows are
    meant in; ``running_s`` is how long this process has run.
    """

    wall: float
    minute: int
    running_s: float
    metered: bool = False


def decide_lanes(config: RelayConfig, moment: Moment) -> frozenset[Lane]:
    """Return the lanes that may be sent now."""
    always = frozenset(config.always_lanes)
    if moment.metered:
        return always
    if not config.bulk_windows:
        return ALL_LANES
    if moment.wall < EARLIEST_WALL:
        return ALL_LANES if moment.running_s >= UNTRUSTED_WAIT_S else always
    inside = any(is_within(w, moment.minute) for w in config.bulk_windows)
    return ALL_LANES if inside else always


def is_within(window: str, minute: int) -> bool:
    """Tell whether a minute of the day is in ``HH:MM-HH:MM``, its end excluded.

    A window whose end is before its start goes over midnight.
    """
    start, end = (_minute(part) for part in window.split("-"))
    if start < end:
        return start <= minute < end
    return minute >= start or minute < end


class Pace:
    """What the relay asks before each batch; one thread uses it."""

    def __init__(self, config: RelayConfig) -> None:
        """Start with all lanes open and a full bucket."""
        rate = config.max_bytes_per_s
        self._bucket = TokenBucket(rate, rate * BURST_S) if rate else None
        self._waiting = False
        self.lanes = ALL_LANES
        self.waits = 0
        """How many times something had to wait for the rate, since the start."""
        self.max_batch_bytes = (
            min(MAX_BATCH_BYTES, max(MIN_BATCH_BYTES, _SQUEEZED * rate))
            if rate
            else MAX_BATCH_BYTES
        )
        """Bound of a batch before its compression."""

    def may_send(self, lane: Lane, now: float) -> bool:
        """Tell whether the rate lets a batch of a lane go; a refusal is counted."""
        if self._bucket is None or lane is Lane.ALERT:
            return True
        ready = self._bucket.ready(now)
        self.waits += not ready and not self._waiting
        self._waiting = not ready
        return ready

    def charge(self, size: int, now: float) -> None:
        """Count ``size`` bytes as sent."""
        if self._bucket is not None:
            self._bucket.take(size, now)


def _minute(text: str) -> int:
    hours, minutes = text.split(":")
    return 60 * int(hours) + int(minutes)
