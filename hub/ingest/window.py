"""How much of the broker's window may wait for its PUBACK.

The broker delivers so many messages unacknowledged and then no more, to whomever they
belong (:data:`hub.broker_client.MAX_INFLIGHT`). So the queue may hold back only part
of the window, and of one device less: what comes beyond that gets its PUBACK at once.
Nothing is lost by that: a device keeps everything until the application's
acknowledgement.
"""

import threading
from collections import Counter
from collections.abc import Callable
from functools import partial

MAX_HELD = 50
"""Half of the window: the other half keeps the messages flowing."""
MAX_HELD_A_DEVICE = 16
"""As many as a device has in flight: four batches in each of its lanes."""

Done = Callable[[], None]


class PubackWindow:
    """Counts the PUBACKs that are held back; thread-safe."""

    def __init__(self) -> None:
        """Hold none."""
        self._lock = threading.Lock()
        self._held: Counter[str] = Counter()
        self._total = 0

    def hold(self, device: str, done: Done) -> Done:
        """Return what to call once the message is dealt with.

        Where too many are held already, ``done`` is called now.
        """
        with self._lock:
            full = self._total >= MAX_HELD or self._held[device] >= MAX_HELD_A_DEVICE
            if not full:
                self._held[device] += 1
                self._total += 1
        if full:
            done()
            return _nothing
        return partial(self._release, device, done)

    def _release(self, device: str, done: Done) -> None:
        with self._lock:
            self._total -= 1
            self._held[device] -= 1
            if not self._held[device]:
                del self._held[device]
        done()


def _nothing() -> None:
    """Do nothing: the PUBACK has gone out."""
