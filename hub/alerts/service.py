"""Turns observations into incidents in the database.

Every open incident gets an observation at each call: one that nobody observed is
unknown. A resolved incident is closed for good; if its condition is met again, that
is a new row. Called by the monitor in the ticker thread; the command line reads with
:func:`list_incidents` and :func:`get_incident`.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Engine

from hub.alerts.evidence import Evidence
from hub.alerts.machine import Alert, AlertState, Condition, Timing, step
from hub.errors import NotFoundError
from hub.storage import alerts
from hub.storage.alerts import AlertRow
from hub.storage.db import transaction

log = logging.getLogger(__name__)

ALERT_CHANGED = "alert.changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What one rule saw of one release in one cohort.

    Where the condition is met, ``evidence`` and ``summary`` say why.
    """

    rule: str
    release: int
    cohort: str
    condition: Condition
    severity: str = "warning"
    summary: str = ""
    evidence: Evidence | None = None

    @property
    def fingerprint(self) -> str:
        """What makes observations speak of the same incident."""
        return fingerprint(self.rule, self.release, self.cohort)


def fingerprint(rule: str, release: int, cohort: str) -> str:
    """Return the identity of an alert, 16 hex digits."""
    text = f"{rule}\n{release}\n{cohort}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def list_incidents(
    engine: Engine, *, only_open: bool = False, after: int = 0
) -> list[AlertRow]:
    """Return incidents by number, from the one after ``after``."""
    with engine.connect() as connection:
        return alerts.list_alerts(connection, only_open=only_open, after=after)


def get_incident(engine: Engine, number: int) -> AlertRow:
    """Return one incident.

    Raises:
        NotFoundError: There is none with this number (``HUB-ALERT-001``).
    """
    with engine.connect() as connection:
        row = alerts.get_alert(connection, number)
    if row is None:
        raise NotFoundError(
            "HUB-ALERT-001",
            f"there is no alert {number}",
            cure="`hub alerts list` shows all",
        )
    return row


class AlertService:
    """Steps the incidents. One instance, in the ticker thread: it caches open rows."""

    def __init__(self, engine: Engine, timing: Timing) -> None:
        """Load what is open."""
        self._engine, self._timing = engine, timing
        self._open: dict[str, AlertRow] = {}
        self.reload()

    def reload(self) -> None:
        """Read anew what is open: somebody else has changed it."""
        rows = list_incidents(self._engine, only_open=True)
        self._open = {row.fingerprint: row for row in rows}

    @property
    def open_keys(self) -> set[tuple[str, int, str]]:
        """Rule, release and cohort of every open incident."""
        return {(row.rule, row.release, row.cohort) for row in self._open.values()}

    def apply(self, observations: Sequence[Observation], now: float) -> None:
        """Step all incidents and store in one transaction what has changed."""
        seen = {observation.fingerprint: observation for observation in observations}
        changed = [
            row
            for row in (
                *(self._start(o, now) for o in seen.values()),
                *(
                    self._go_on(row, seen.get(key), now)
                    for key, row in self._open.items()
                ),
            )
            if row is not None
        ]
        if not changed:
            return
        with transaction(self._engine) as connection:
            stored = []
            for row in changed:
                if row.id:
                    alerts.update_alert(connection, row)
                    stored.append(row)
                else:
                    number = alerts.insert_alert(connection, row)
                    stored.append(replace(row, id=number))
        for row in stored:
            self._keep(row)

    def _start(self, observation: Observation, now: float) -> AlertRow | None:
        """Open an incident where there is none and the condition is met."""
        if observation.fingerprint in self._open or observation.evidence is None:
            return None
        alert = step(Alert(), observation.condition, now, self._timing)
        if alert.state is AlertState.OK:
            return None
        return AlertRow(
            id=0,
            fingerprint=observation.fingerprint,
            rule=observation.rule,
            release=observation.release,
            cohort=observation.cohort,
            severity=observation.severity,
            summary=observation.summary,
            evidence=observation.evidence,
            alert=alert,
            updated_at=now,
        )

    def _go_on(
        self, row: AlertRow, observation: Observation | None, now: float
    ) -> AlertRow | None:
        """Step an open incident; ``None`` if that changes nothing."""
        condition = observation.condition if observation else Condition.UNKNOWN
        new = replace(row, alert=step(row.alert, condition, now, self._timing))
        if condition is Condition.TRUE and observation and observation.evidence:
            new = replace(
                new,
                severity=observation.severity,
                summary=observation.summary,
                evidence=observation.evidence,
            )
        return None if new == row else replace(new, updated_at=now)

    def _keep(self, row: AlertRow) -> None:
        before = self._open.get(row.fingerprint)
        if row.alert.state is AlertState.OK:
            self._open.pop(row.fingerprint, None)
        else:
            self._open[row.fingerprint] = row
        if before is None or before.alert.state is not row.alert.state:
            log.info(
                ALERT_CHANGED,
                extra={
                    "alert": row.id,
                    "state": str(row.alert.state),
                    "summary": row.summary,
                },
            )
