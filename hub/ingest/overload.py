"""What happens with devices that send more than they may: seen to, stored and logged.

The writer calls :meth:`Overload.look` at each step. A flood is cut off at the broker
(:mod:`hub.ingest.hearing`); what was not taken is counted by device and day, for the
alert (:mod:`hub.monitor.overuse`), and logged with what the quota has deleted.
"""

import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from edge_agent.base.clock import Clock
from hub.ingest.admission import NOBODY, Admission
from hub.ingest.hearing import Hearing
from hub.storage import device_days, devices, identity
from hub.storage.db import transaction
from hub.storage.tombstones import forgotten_among

log = logging.getLogger(__name__)

INGEST_REFUSED = "ingest.refused"
INGEST_DEAF = "ingest.deaf"
RECORDS_OVER_QUOTA = "records.over_quota"

LOOK_S = 0.2
"""How often floods are looked for."""
NAMES_S = 5.0
"""While one is going on: how often devices that are new get their subscription."""
TELL_S = 10.0
"""How often what was not taken, or deleted again, is stored and logged."""
SHOWN = 20
"""How many devices a line, or lines of a kind, name at most."""

Hear = Callable[[Collection[str] | None], object]
"""Takes the only devices to be listened to; ``None``: all."""


class Overload:
    """Follows the refusals of one ingest process, in its writer thread."""

    def __init__(self, engine: Engine, clock: Clock, admission: Admission) -> None:
        """Begin with nothing refused, listening to all."""
        self._engine, self._clock, self._admission = engine, clock, admission
        self._hearing = Hearing()
        self._refused: Counter[str] = Counter()
        self._deleted: Counter[str] = Counter()
        self._looked_at = self._named_at = self._told_at = clock.mono()
        self.total = 0
        self.hear: Hear = lambda _devices: None
        """What makes the link listen to some devices only."""

    def note_deleted(self, rows: Mapping[str, int]) -> None:
        """Count records that the quota has deleted, by device."""
        self._deleted.update(rows)

    def look(self) -> None:
        """Do what is due: leave out who floods, and tell what was not taken."""
        now = self._clock.mono()
        if now - self._looked_at < LOOK_S:
            return
        self._looked_at = now
        arrived, refused = self._admission.take_counts()
        self.total += refused.total()
        self._refused += refused
        changed = self._hearing.look(arrived, refused, now)
        if changed or (self._hearing.deaf_to and now - self._named_at >= NAMES_S):
            self._named_at = now
            self._listen(self._hearing.deaf_to, changed=changed)
        if now - self._told_at >= TELL_S:
            self._told_at = now
            self._tell()

    def _listen(self, deaf_to: Collection[str], *, changed: bool) -> None:
        if changed:
            log.warning(INGEST_DEAF, extra={"devices": sorted(deaf_to)[:SHOWN]})
        if not deaf_to:
            self.hear(None)
            return
        with contextlib.suppress(SQLAlchemyError), self._engine.connect() as connection:
            # Who was just enrolled is heard before it has said anything.
            known = devices.list_ids(connection) | set(
                identity.newest_expiry(connection)
            )
            self.hear(known - set(deaf_to))

    def _tell(self) -> None:
        refused, self._refused = self._refused, Counter()
        for device, messages in refused.most_common(SHOWN):
            facts = {"device": device, "messages": messages}
            log.warning(INGEST_REFUSED, extra=facts)
        for device, rows in self._deleted.most_common(SHOWN):
            log.warning(RECORDS_OVER_QUOTA, extra={"device": device, "rows": rows})
        self._deleted.clear()
        refused.pop(NOBODY, None)
        if refused:
            with (
                contextlib.suppress(SQLAlchemyError),
                transaction(self._engine) as connection,
            ):
                for gone in forgotten_among(connection, set(refused)):
                    del refused[gone]
                device_days.note_refused(connection, refused, self._clock.wall())
