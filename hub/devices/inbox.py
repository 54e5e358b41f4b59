"""Control messages between the network thread and the ticker: newest only.

Presence and twin are states, not events: of one boot only the newest matters, so the
inbox keeps one message a device, kind and boot, and of few boots, the newest ones. So a
device that is born thousands of times between two ticks holds up nobody, and the inbox
can neither grow without bound nor make the network thread wait.
"""

import logging
import threading
from collections.abc import Sequence

from edge_agent.wire import codec
from edge_agent.wire.control import Presence, Reported
from edge_agent.wire.errors import WireError
from edge_agent.wire.topics import Address, Leaf

log = logging.getLogger(__name__)

CONTROL_INVALID = "control.invalid"
CONTROL_FULL = "control.full"

MAX_WAITING = 100_000
MAX_BOOTS = 4
"""Of a device and kind; two boots that take turns are a clone already."""

_KINDS: dict[Leaf, type[Presence] | type[Reported]] = {
    Leaf.PRESENCE: Presence,
    Leaf.REPORTED: Reported,
}


class Inbox:
    """Thread-safe; :meth:`put` on the network thread, :meth:`take` on the ticker."""

    def __init__(self) -> None:
        """Create an empty inbox."""
        self._lock = threading.Lock()
        self._waiting: dict[tuple[str, str, str], Presence | Reported] = {}
        self._boots: dict[tuple[str, str], dict[str, None]] = {}

    def put(self, address: Address, payload: bytes) -> None:
        """Keep a message; what is not valid is logged and dropped."""
        kind = _KINDS.get(address.kind) if isinstance(address.kind, Leaf) else None
        if kind is None:
            return
        try:
            message: Presence | Reported = codec.decode(payload, kind)
        except WireError as error:
            _log_invalid(address, str(error))
            return
        if message.device != address.device:
            _log_invalid(address, f"it speaks for {message.device}")
            return
        key = _key(message)
        with self._lock:
            # Out and in again, so that the order is that of arrival.
            self._waiting.pop(key, None)
            full = len(self._waiting) >= MAX_WAITING
            if not full:
                self._waiting[key] = message
                self._note_boot(*key)
        if full:
            log.error(CONTROL_FULL, extra={"device": address.device})

    def _note_boot(self, device: str, kind: str, boot: str) -> None:
        """Note the newest boot of a device; the oldest beyond the bound is dropped."""
        boots = self._boots.setdefault((device, kind), {})
        boots.pop(boot, None)
        boots[boot] = None
        if len(boots) > MAX_BOOTS:
            oldest = next(iter(boots))
            del boots[oldest]
            self._waiting.pop((device, kind, oldest), None)

    def take(self) -> list[Presence | Reported]:
        """Return and forget what is waiting, in the order of arrival."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
            self._boots = {}
        return list(waiting.values())

    def put_back(self, messages: Sequence[Presence | Reported]) -> None:
        """Keep messages that could not be stored; newer ones that came win."""
        with self._lock:
            again = {_key(message): message for message in messages}
            for key in self._waiting:
                again.pop(key, None)
            self._waiting = again | self._waiting
            self._boots = {}
            for key in list(self._waiting):
                self._note_boot(*key)


def _key(message: Presence | Reported) -> tuple[str, str, str]:
    kind = Leaf.PRESENCE if isinstance(message, Presence) else Leaf.REPORTED
    return (message.device, str(kind), message.boot)


def _log_invalid(address: Address, reason: str) -> None:
    log.warning(
        CONTROL_INVALID,
        extra={
            "device": address.device,
            "topic": str(address.kind),
            "reason": reason,
        },
    )
