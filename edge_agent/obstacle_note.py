"""What updates wait for, for ``edge-agent status`` beside the agent.

The supervisor knows it in memory; the commands read the database. What cannot be noted,
because the disk is what is in the way, is tried again at the next look: nothing stands
still for it. The note counts while the agent runs, and is made anew at its start.
"""

import contextlib

import msgspec

from edge_agent.errors import StoreError
from edge_agent.store.slots import SlotStore
from edge_agent.wire.control import Obstacle

WAITS_FOR = "waits_for"


class ObstacleNote:
    """Keeps the note up to date; belongs to one thread."""

    def __init__(self, slots: SlotStore) -> None:
        """Write to this store; nothing is written before :meth:`look`."""
        self._slots = slots
        self._noted: str | None = None

    def look(self, present: Obstacle | None) -> None:
        """Note what is in the way now, if that is not what is noted."""
        text = msgspec.json.encode(present).decode() if present else ""
        if text == self._noted:
            return
        with contextlib.suppress(StoreError):
            self._slots.write_text(WAITS_FOR, text)
            self._noted = text


def read_obstacle(slots: SlotStore) -> Obstacle | None:
    """Return what was noted last, if anything.

    Raises:
        StoreError: The database cannot be read.
    """
    text = slots.read_text(WAITS_FOR)
    return msgspec.json.decode(text, type=Obstacle) if text else None
