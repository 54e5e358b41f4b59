"""Control messages of a device: what it says of itself, and what it is told.

Decoding never raises: a message that is not valid is logged once a topic and dropped,
because a retained bad message would otherwise come again with every session. What is
inside a signed envelope is decoded by whoever has checked the signature.
"""

import logging
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from edge_agent.wire.codec import decode, encode
from edge_agent.wire.control import Ack, Presence, Reported, TufBundle
from edge_agent.wire.envelope import Envelope
from edge_agent.wire.errors import WireError
from edge_agent.wire.topics import HUB_TUF, Leaf, leaf

TWIN_BAD_MESSAGE = "twin.bad_message"
MAX_TUF_BYTES = 4 << 20
MAX_CONTROL_BYTES = 64 << 10

log = logging.getLogger(__name__)
_T = TypeVar("_T", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """A signed assignment, not yet verified."""

    envelope: Envelope


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandReceived:
    """A signed command, not yet verified."""

    envelope: Envelope


Incoming = Desired | CommandReceived | Ack | TufBundle


class Twin:
    """Encodes and decodes the control messages of one device."""

    def __init__(self, birth: Presence) -> None:
        """Take the device's presence as it is while it is online."""
        self._birth = birth
        self._version = 0
        self._complained: set[str] = set()
        self.presence_topic = leaf(birth.device, Leaf.PRESENCE)
        self.reported_topic = leaf(birth.device, Leaf.REPORTED)
        self.desired_topic = leaf(birth.device, Leaf.DESIRED)
        self.ack_topic = leaf(birth.device, Leaf.ACK)
        self.cmd_topic = leaf(birth.device, Leaf.CMD)
        self.block_topic = leaf(birth.device, Leaf.BLOCK_DATA)

    @property
    def subscriptions(self) -> list[str]:
        """The topics to subscribe to."""
        return [
            self.ack_topic,
            HUB_TUF,
            self.desired_topic,
            self.cmd_topic,
            self.block_topic,
        ]

    def birth(self, at: float) -> bytes:
        """Return the retained presence of a device that is online."""
        return encode(msgspec.structs.replace(self._birth, at=at))

    def death(self, at: float) -> bytes:
        """Return the retained presence of a device that left; also its last will."""
        return encode(msgspec.structs.replace(self._birth, at=at, online=False))

    def reported(self, twin: Reported) -> bytes:
        """Return the reported twin with the next version number of this boot."""
        self._version += 1
        return encode(msgspec.structs.replace(twin, version=self._version))

    def decode(self, topic: str, payload: bytes) -> Incoming | None:
        """Decode a message by its topic; ``None``: it is not valid or not for us."""
        if topic == self.ack_topic:
            return self._try(topic, payload, Ack, MAX_CONTROL_BYTES)
        if topic == HUB_TUF:
            return self._try(topic, payload, TufBundle, MAX_TUF_BYTES)
        if topic not in {self.desired_topic, self.cmd_topic}:
            return None
        envelope = self._try(topic, payload, Envelope, MAX_CONTROL_BYTES)
        if envelope is None:
            return None
        if topic == self.desired_topic:
            return Desired(envelope=envelope)
        return CommandReceived(envelope=envelope)

    def _try(self, topic: str, payload: bytes, kind: type[_T], limit: int) -> _T | None:
        if not payload:
            return None  # a retained message that was cleared
        try:
            message = decode(payload, kind, limit=limit)
        except WireError as error:
            if topic not in self._complained:
                self._complained.add(topic)
                log.warning(
                    TWIN_BAD_MESSAGE, extra={"topic": topic, "error": str(error)}
                )
            return None
        self._complained.discard(topic)
        return message
