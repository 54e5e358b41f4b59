"""The link port: what relay and supervisor need of a broker connection.

A link delivers at most to the broker; nothing here is a promise of the hub. Events
come through :meth:`Link.poll`, so no foreign thread ever runs the caller's code.
"""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Up:
    """The session is established and the subscriptions are made."""


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


LinkEvent = Up | Down | Received


class Link(Protocol):
    """A connection to a broker that reconnects by itself."""

    @property
    def connected(self) -> bool:
        """Whether a session is established now."""
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
