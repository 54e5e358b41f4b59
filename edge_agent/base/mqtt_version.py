"""Which MQTT version to speak with a broker, and the limits that MQTT 5 tells.

Pure, for device and hub alike. ``auto`` begins with 5. A broker that says that it does
not know the version, or closes twice instead of answering, is tried with 3.1.1; once
it has accepted that, this process stays with it.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal

V5: Literal["5"] = "5"
V311: Literal["3.1.1"] = "3.1.1"
Version = Literal["5", "3.1.1"]
VersionSetting = Literal["auto", "5", "3.1.1"]

UNSUPPORTED_VERSION = 0x84
"""CONNACK's reason; 3.1.1's return code 1 means the same."""
CLOSED_TRIES = 2
"""A broker that dies closes once; one that cannot read MQTT 5 closes each time."""
_PACKET_HEAD_BYTES = 64
"""More than a PUBLISH has around topic and payload, properties included."""


class Answer(Enum):
    """What became of one CONNECT."""

    NONE = auto()
    """The connection was closed, or lost, without a CONNACK."""
    ACCEPTED = auto()
    WRONG_VERSION = auto()
    REFUSED = auto()
    """For another reason than the version."""


class VersionChoice:
    """The version to connect with next; one thread uses it."""

    def __init__(self, setting: VersionSetting) -> None:
        """Begin with the newest version that the setting allows."""
        self._fixed = setting != "auto"
        self._settled = False
        self._closed = 0
        self.version: Version = V311 if setting == "3.1.1" else V5

    def note(self, answer: Answer) -> None:
        """Learn from the answer to a CONNECT with :attr:`version`."""
        if answer is Answer.ACCEPTED:
            self._settled = self.version == V311
        self._closed = self._closed + 1 if answer is Answer.NONE else 0
        wrong = answer is Answer.WRONG_VERSION or self._closed >= CLOSED_TRIES
        if wrong and not self._fixed and not self._settled:
            self._closed = 0
            self.version = V5 if self.version == V311 else V311


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a broker takes: messages in flight, and bytes of a packet (0: any)."""

    receive_maximum: int = 65_535
    packet_bytes: int = 0

    def fits(self, topic: str, payload: bytes) -> bool:
        """Tell whether a message is within the broker's largest packet."""
        size = len(topic.encode()) + len(payload) + _PACKET_HEAD_BYTES
        return not self.packet_bytes or size <= self.packet_bytes


def read_limits(properties: object) -> Limits:
    """Return the limits in a CONNACK's properties; 3.1.1 has none."""
    return Limits(
        receive_maximum=int(getattr(properties, "ReceiveMaximum", 65_535)),
        packet_bytes=int(getattr(properties, "MaximumPacketSize", 0)),
    )
