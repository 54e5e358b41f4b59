"""Deleting records and labels by age, a little at a time.

Oldest first in the order of commit, in short transactions, so that ingest never waits
long. A stream keeps up to where its records are gone (``pruned``): a batch that comes
again, even years later, brings none of them back. Numbers (``id``) are never used
again, so readers that go on from the last one they saw miss nothing.
"""

import logging
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, Table, delete, func, select, update

from edge_agent.base.clock import Clock
from hub.clock_trust import is_trusted
from hub.storage.db import transaction
from hub.storage.device_days import DAY_S, forget_days
from hub.storage.tables import FEEDBACK, RECORDS, STREAMS

log = logging.getLogger(__name__)

RECORDS_PRUNED = "records.pruned"

ROWS = 2000
"""How many rows a transaction deletes at most."""
PERIOD_S = 60.0


@dataclass(slots=True)
class _Sweep:
    next_at: float = float("-inf")
    deleted: int = 0


class Retention:
    """Steps a sweep; one instance, in the ticker thread."""

    def __init__(self, engine: Engine, clock: Clock, keep_days: float) -> None:
        """Keep what came in the last ``keep_days``; 0 keeps everything."""
        self._engine, self._clock, self._keep_s = engine, clock, keep_days * DAY_S
        self._sweep = _Sweep()

    def tick(self) -> int:
        """Delete at most :data:`ROWS` of each kind, if a sweep is due.

        Returns:
            How many rows were deleted.
        """
        now = self._clock.mono()
        if not self._keep_s or now < self._sweep.next_at or not is_trusted(self._clock):
            return 0
        before = self._clock.wall() - self._keep_s
        with transaction(self._engine) as connection:
            deleted = _prune_records(connection, before)
            deleted += _prune(connection, FEEDBACK, before)
            forget_days(connection, before)
        self._sweep.deleted += deleted
        if not deleted:
            if self._sweep.deleted:
                log.info(RECORDS_PRUNED, extra={"rows": self._sweep.deleted})
            self._sweep = _Sweep(next_at=now + PERIOD_S)
        return deleted


def _prune_records(connection: Connection, before: float) -> int:
    last = _last(connection, RECORDS, before)
    if not last:
        return 0
    tops = connection.execute(
        select(RECORDS.c.stream, func.max(RECORDS.c.seq))
        .where(RECORDS.c.id <= last)
        .group_by(RECORDS.c.stream)
    ).all()
    for stream, top in tops:
        connection.execute(
            update(STREAMS)
            .where(STREAMS.c.id == stream, STREAMS.c.pruned < top)
            .values(pruned=top)
        )
    return connection.execute(delete(RECORDS).where(RECORDS.c.id <= last)).rowcount


def _prune(connection: Connection, table: Table, before: float) -> int:
    last = _last(connection, table, before)
    if not last:
        return 0
    return connection.execute(delete(table).where(table.c.id <= last)).rowcount


def _last(connection: Connection, table: Table, before: float) -> int:
    """Return the highest number, among the oldest rows, of those that are too old."""
    oldest = (
        select(table.c.id, table.c.received_at).order_by(table.c.id).limit(ROWS)
    ).subquery()
    young = select(func.min(oldest.c.id)).where(oldest.c.received_at >= before)
    first_young = connection.scalar(young)
    old = select(func.max(oldest.c.id))
    if first_young is not None:
        old = old.where(oldest.c.id < first_young)
    return connection.scalar(old) or 0
