"""Publishing with a PUBACK: within the broker's limits, its refusals said once.

Part of the hub's link, and like it a user of paho.
"""

import logging
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_agent.base.mqtt_version import Limits

log = logging.getLogger(__name__)

_LARGE_BYTES = 1 << 12
"""A smaller message is not why a broker closes."""
_CLOSED_TRIES = 2

LINK_REFUSED = "link.refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A message at QoS 1. With MQTT 5 it ends after ``expires_s`` (0: never)."""

    topic: str
    payload: bytes
    retain: bool = False
    expires_s: float = 0.0


class Confirmed:
    """Publishes, waits for the answer, and knows what the broker takes."""

    def __init__(self) -> None:
        """Start without limits; the link sets those of each connection."""
        self.limits = Limits()
        self._refused: set[int] = set()
        self._complained: set[str] = set()
        self._pending: list[mqtt.MQTTMessageInfo] = []
        self._unanswered: dict[int, int] = {}
        self._suspected = self._closed = 0
        self._learned = 0

    def forget(self) -> None:
        """Forget what was sent by a client that is given up."""
        self._pending, self._unanswered = [], {}

    def publish(
        self, client: mqtt.Client, message: Outgoing, *, timeout_s: float
    ) -> bool:
        """Publish and wait at most ``timeout_s`` for a PUBACK (0: not at all).

        Returns:
            Whether one came, and was no refusal.
        """
        if not self._takes(message):
            return False
        properties = None
        if message.expires_s and client.protocol == mqtt.MQTTv5:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.MessageExpiryInterval = max(1, int(message.expires_s))
        info = client.publish(
            message.topic,
            message.payload,
            qos=1,
            retain=message.retain,
            properties=properties,
        )
        if info.rc != mqtt.MQTT_ERR_SUCCESS:
            return False
        self._pending.append(info)
        self._unanswered[info.mid] = len(message.payload)
        if info.is_published():  # the answer was quicker
            self._unanswered.pop(info.mid, None)
        if not timeout_s:
            return False
        try:
            info.wait_for_publish(timeout_s)
        except (RuntimeError, ValueError):
            return False
        refused = info.mid in self._refused
        self._refused.discard(info.mid)
        return info.is_published() and not refused

    def _takes(self, message: Outgoing) -> bool:
        """Tell whether the broker's limits allow one more message, and this one."""
        self._pending = [info for info in self._pending if not info.is_published()]
        if len(self._pending) >= self.limits.receive_maximum:
            return False
        if self.fits(message.topic, message.payload):
            return True
        limit = self.limits.packet_bytes or f"less than {self._learned}"
        self._complain(
            "HUB-LINK-006",
            f"{message.topic} has {len(message.payload)} bytes, the broker takes"
            f" packets up to {limit} bytes",
            "raise the broker's largest packet (max_packet_size in mosquitto)",
        )
        return False

    def fits(self, topic: str, payload: bytes) -> bool:
        """Tell whether the broker's limit, told or learned, allows a message."""
        within = not self._learned or len(payload) < self._learned
        return within and self.limits.fits(topic, payload)

    def note_closed(self) -> bool:
        """Learn from a connection that an MQTT 3.1.1 broker closed without a word.

        It has no other way to say that a packet is too large.

        Returns:
            Whether the largest message that waits for its PUBACK is taken for the
            cause: it was there each time. The client that holds it must be given up.
        """
        size = max(self._unanswered.values(), default=0)
        same = size >= _LARGE_BYTES and size == self._suspected
        self._closed = self._closed + 1 if same else 1
        self._suspected = size
        if size < _LARGE_BYTES or self._closed < _CLOSED_TRIES:
            return False
        self._learned = size
        self._complain(
            "HUB-LINK-006",
            f"the broker closes the connection on a message of {size} bytes",
            "raise the broker's largest packet (max_packet_size in mosquitto)",
        )
        return True

    def on_publish(
        self,
        _client: mqtt.Client,
        _userdata: Any,  # noqa: ANN401 - paho's signature
        mid: int,
        reason: ReasonCode,
        _properties: object,
    ) -> None:
        """Take paho's notice of a PUBACK."""
        self._unanswered.pop(mid, None)
        if reason.is_failure:
            self._refused.add(mid)
            self._complain(
                "HUB-LINK-005",
                f"the broker refuses a message: {reason}",
                "let the hub's user write shoal/v1/# in the broker's access rules"
                " (hub broker config writes them); the broker's log says more",
            )

    def _complain(self, code: str, text: str, cure: str) -> None:
        """Log a refusal once: publishing is tried again without end."""
        if text not in self._complained:
            self._complained.add(text)
            log.error(LINK_REFUSED, extra={"code": code, "reason": text, "cure": cure})
