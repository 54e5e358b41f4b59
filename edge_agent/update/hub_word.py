"""What a device holds of the hub's word: the newest time, assignment and command.

All three only ever rise, so that nothing old can be replayed. Who steals the online key
can raise them out of the hub's reach; what ends that is a root that names another key.
Then they are void, in one durable write, as TUF has it for the metadata of that key
(fast-forward recovery). Nothing is lost by it: what the old key signed is no longer
believed. Called by :mod:`edge_agent.update.runner`.
"""

import logging
from collections.abc import Callable
from dataclasses import replace

from edge_agent.base.clock import Clock, is_synchronised
from edge_agent.store.slots import Slots, SlotStore
from edge_agent.update.commands import LAST_ID
from edge_agent.update.trusted_time import TrustedTime

HUB_KEY_CHANGED = "hub.key_changed"
TIME_FLOOR = "time_floor"
ONLINE_KEYS = "online_keys"

log = logging.getLogger(__name__)


class HubWord:
    """Keeps it durably; one owner thread, one that follows."""

    def __init__(
        self,
        slots: SlotStore,
        clock: Clock,
        is_kept: Callable[[], bool] = is_synchronised,
    ) -> None:
        """Read what was kept; ``is_kept``: whether a time service sets the clock.

        Raises:
            StoreError: It cannot be read.
        """
        self._slots = slots
        self._time = TrustedTime(clock, slots.read_number(TIME_FLOOR), is_kept)

    @property
    def clock_is_trusted(self) -> bool:
        """Whether the system's clock can be right."""
        return self._time.is_trusted

    @property
    def ahead_s(self) -> float:
        """How far the hub's signed time is ahead of a clock that can be right (0)."""
        return self._time.ahead_s

    def now(self) -> float:
        """Return the time that expiry is judged at, seconds since 1970."""
        return self._time.now()

    def note(self, signed_at: float) -> bool:
        """Take note of a time that the hub signed; tell whether it is the newest.

        Raises:
            StoreError: It cannot be kept.
        """
        is_newest = self._time.note(signed_at)
        if is_newest:
            self._slots.write_number(TIME_FLOOR, signed_at)
        return is_newest

    def follow(self, keys: str, state: Slots) -> Slots | None:
        """Forget all of it if other keys than before sign for the hub.

        Args:
            keys: The keys that the newest root names.
            state: The journalled state.

        Returns:
            The state as it is journalled now, or ``None`` if the keys are the same.

        Raises:
            StoreError: Nothing was changed.
        """
        known = self._slots.read_text(ONLINE_KEYS)
        if known == keys:
            return None
        if not known:  # the first that this device hears of
            self._slots.write_with(state, {ONLINE_KEYS: keys})
            return None
        log.warning(HUB_KEY_CHANGED, extra={"keys": keys})
        state = replace(state, seq=0)
        void = {TIME_FLOOR: "0", LAST_ID: "0", ONLINE_KEYS: keys}
        self._slots.write_with(state, void)
        self._time.forget()
        return state
