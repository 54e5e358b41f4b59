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

    def forget(self) -> None:
        """Forget what was sent by a client that is given up."""
        self._pending = []

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
        if self.limits.fits(message.topic, message.payload):
            return True
        self._complain(
            "HUB-LINK-006",
            f"{message.topic} has {len(message.payload)} bytes, the broker takes"
            f" packets up to {self.limits.packet_bytes}",
            "raise the broker's largest packet (max_packet_size in mosquitto)",
        )
        return False

    def on_publish(
        self,
        _client: mqtt.Client,
        _userdata: Any,  # noqa: ANN401 - paho's signature
        mid: int,
        reason: ReasonCode,
        _properties: object,
    ) -> None:
        """Take paho's notice of a PUBACK."""
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
