"""The link port: what relay and supervisor need of a broker connection.

A link delivers at most to the broker; nothing here is a promise of the hub. Events
come through :meth:`Link.poll`, so no foreign thread ever runs the caller's code.
"""

from dataclasses import dataclass
from typing import Protocol

from edge_agent.base.mqtt_version import Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Up:
    """The session is established and the subscriptions are made.

    ``version`` is the MQTT version that is spoken.
    """

    version: Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Down:
    """The session is lost, or could not be established: ``reason``."""

    reason: str
    contested: bool = False
    """Whether another device seems to use this one's id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A message on one of the device's topics."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The broker took a message and refused it: ``number`` is MQTT 5's reason code."""

    topic: str
    number: int
    reason: str
    size_bytes: int


LinkEvent = Up | Down | Received | Refused


class Link(Protocol):
    """A connection to a broker that reconnects by itself."""

    @property
    def connected(self) -> bool:
        """Whether a session is established now."""
        ...

    def fits(self, topic: str, payload: bytes) -> bool:
        """Tell whether the broker takes messages of this size."""
        ...

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        """Hand a message to the broker with QoS 1.

        Returns:
            Whether it was taken; ``False`` when there is no session or the window of
            messages in flight is full. Nothing is queued for later.
        """
        ...

    def poll(self, timeout_s: float) -> LinkEvent | None:
        """Return the next event, or ``None`` when there is none in time."""
        ...
