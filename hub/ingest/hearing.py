"""Devices that the hub stops listening to, because they flood.

A message that is refused has still come through the broker's one queue for the hub, in
front of everybody else's. So from a flood on the hub subscribes to the other devices by
name in place of all, and the broker drops what the flood sends. After :data:`DEAF_S` it
listens again; a device that still floods is left out for twice as long.

Pure: every function takes the time.
"""

from collections.abc import Mapping
from dataclasses import dataclass

FLOOD_REFUSED = 100
"""So many messages refused between two looks are a flood."""
FLOOD_ARRIVED = 500
"""And so many that came: what an honest device has in flight is far from it."""
DEAF_S = 30.0
MAX_DEAF_S = 3600.0


@dataclass(frozen=True, slots=True)
class _Pause:
    until: float
    length_s: float


class Hearing:
    """Who is left out, and until when."""

    def __init__(self) -> None:
        """Listen to everybody."""
        self._pauses: dict[str, _Pause] = {}
        self.deaf_to: frozenset[str] = frozenset()
        """The devices that are left out, as of the last look."""

    def look(
        self, arrived: Mapping[str, int], refused: Mapping[str, int], now: float
    ) -> bool:
        """Learn how many messages came, and were refused, since the last look.

        Returns:
            Whether :attr:`deaf_to` has changed.
        """
        for device, messages in arrived.items():
            pause = self._pauses.get(device)
            floods = (
                messages >= FLOOD_ARRIVED or refused.get(device, 0) >= FLOOD_REFUSED
            )
            if not floods or (pause and now < pause.until):
                continue
            length_s = min(2 * pause.length_s, MAX_DEAF_S) if pause else DEAF_S
            self._pauses[device] = _Pause(until=now + length_s, length_s=length_s)
        # A pause is remembered for as long again: who floods anew is not new to it.
        self._pauses = {
            device: pause
            for device, pause in self._pauses.items()
            if now < pause.until + pause.length_s
        }
        before = self.deaf_to
        self.deaf_to = frozenset(
            device for device, pause in self._pauses.items() if now < pause.until
        )
        return self.deaf_to != before
