"""Writes down whether the hub has its broker, so that commands can tell.

The ticker of ``hub serve`` owns the one instance.
"""

from sqlalchemy import Engine

from edge_agent.base.clock import Clock
from hub.storage.db import transaction
from hub.storage.hub_links import BEAT_S, NEVER, HubLinkRow, write_link


class LinkBeat:
    """Writes at each change, and every :data:`BEAT_S` that it still holds."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        """Start without anything written."""
        self._engine, self._clock = engine, clock
        self._last = NEVER
        self._next_at = float("-inf")

    def tick(self, *, up: bool) -> None:
        """Note that the link is up, or down, now."""
        steady, now = self._clock.mono(), self._clock.wall()
        changed = up != self._last.up or not self._last.beat_at
        if not changed and steady < self._next_at:
            return
        since_at = now if changed else self._last.since_at
        row = HubLinkRow(up=up, since_at=since_at, beat_at=now)
        with transaction(self._engine) as conn:
            write_link(conn, row)
        self._last, self._next_at = row, steady + BEAT_S
