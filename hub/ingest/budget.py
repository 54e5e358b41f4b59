"""What each device may cost the hub: bytes, rows and decoding time.

An allowance is counted in seconds: a device earns one a second and saves up
:data:`BURST_S`, and a message costs as many as its dearest part: its bytes, rows or
decoding time over what a device may have of these in a second. A device in debt is not
listened to; what it sends all the same is charged too, down to :data:`DEBT_S`, so one
that goes on regardless has to be quiet for so long. Honest devices never get near it:
one that was away empties its whole outbox within the burst.

Pure: every function takes the time.
"""

from dataclasses import dataclass

from hub.config import IngestConfig

BURST_S = 20.0
DEBT_S = 5.0
MESSAGE_ROWS = 10
"""What a message costs beyond its rows, as rows: transaction, acknowledgement."""
POISON_ROWS = 1500
"""What a message that is set aside costs, as rows: it is written whole, and a device
that means well sends few."""
MAX_DEVICES = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a message took: bytes on the wire, rows, seconds of decoding."""

    size: int = 0
    rows: int = 0
    seconds: float = 0.0


class Budgets:
    """The allowances of the devices heard lately. Not thread-safe."""

    def __init__(self, config: IngestConfig) -> None:
        """Give every device the same, and begin with full allowances."""
        self._config = config
        self._left: dict[str, tuple[float, float]] = {}

    def price(self, cost: Cost) -> float:
        """Return what a message costs, in seconds of allowance."""
        config = self._config
        return max(
            cost.size / config.device_bytes_per_s,
            (cost.rows + MESSAGE_ROWS) / config.device_rows_per_s,
            cost.seconds / config.device_decode_share,
        )

    def allows(self, device: str, now: float) -> bool:
        """Tell whether a device is listened to at ``now`` (monotonic, in seconds)."""
        return self._balance(device, now) > 0

    def charge(self, device: str, price: float, now: float) -> None:
        """Take ``price`` from a device, whether it has as much or not."""
        left = max(-DEBT_S, self._balance(device, now) - price)
        # In again at the end: the first is who has not been heard for the longest.
        self._left.pop(device, None)
        self._left[device] = (left, now)
        if len(self._left) > MAX_DEVICES:
            del self._left[next(iter(self._left))]

    def _balance(self, device: str, now: float) -> float:
        left, at = self._left.get(device, (BURST_S, now))
        return min(BURST_S, left + max(0.0, now - at))
