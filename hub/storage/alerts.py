"""Repository of alerts: one row an incident."""

from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection, Row, insert, select, update

from hub.alerts.evidence import Evidence
from hub.alerts.machine import Alert, AlertState
from hub.storage.tables import ALERTS

_decode_evidence = msgspec.json.Decoder(Evidence)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRow:
    """An alert as stored. ``alert`` is its state and times."""

    id: int
    fingerprint: str
    rule: str
    release: int
    cohort: str
    severity: str
    summary: str
    evidence: Evidence
    alert: Alert
    updated_at: float

    @property
    def is_firing(self) -> bool:
        """Whether it fires now (recovering still counts, unknown does not)."""
        return self.alert.state in (AlertState.FIRING, AlertState.RECOVERING)


def insert_alert(connection: Connection, row: AlertRow) -> int:
    """Insert a new incident (its ``id`` is ignored) and return its number."""
    result = connection.execute(
        insert(ALERTS).values(
            fingerprint=row.fingerprint,
            rule=row.rule,
            release=row.release,
            cohort=row.cohort,
            **_changing(row),
        )
    )
    key = result.inserted_primary_key
    return int(key[0]) if key else 0


def update_alert(connection: Connection, row: AlertRow) -> None:
    """Store what may change of an incident."""
    connection.execute(
        update(ALERTS).where(ALERTS.c.id == row.id).values(**_changing(row))
    )


def list_alerts(
    connection: Connection, *, only_open: bool = False, after: int = 0
) -> list[AlertRow]:
    """Return incidents by number, from the one after ``after``."""
    found = select(ALERTS).where(ALERTS.c.id > after).order_by(ALERTS.c.id)
    if only_open:
        found = found.where(ALERTS.c.resolved_at.is_(None))
    return [_alert(row) for row in connection.execute(found)]


def get_alert(connection: Connection, number: int) -> AlertRow | None:
    """Return one incident, or ``None``."""
    row = connection.execute(select(ALERTS).where(ALERTS.c.id == number)).one_or_none()
    return None if row is None else _alert(row)


def _changing(row: AlertRow) -> dict[str, object]:
    alert = row.alert
    began = alert.pending_at if alert.pending_at is not None else row.updated_at
    values: dict[str, object] = {
        "state": str(alert.state),
        "severity": row.severity,
        "summary": row.summary,
        "evidence": msgspec.json.encode(row.evidence).decode(),
        "fired_at": alert.fired_at,
        "clear_at": alert.clear_at,
        "resolved_at": alert.resolved_at,
        "updated_at": row.updated_at,
    }
    if not row.id or alert.pending_at is not None:
        values["pending_at"] = began
    return values


def _alert(row: Row[tuple[object, ...]]) -> AlertRow:
    state = AlertState(row.state)
    waits = state in (AlertState.PENDING, AlertState.FIRING)
    return AlertRow(
        id=row.id,
        fingerprint=row.fingerprint,
        rule=row.rule,
        release=row.release,
        cohort=row.cohort,
        severity=row.severity,
        summary=row.summary,
        evidence=_decode_evidence.decode(row.evidence),
        alert=Alert(
            state=state,
            pending_at=row.pending_at if waits else None,
            fired_at=row.fired_at,
            clear_at=row.clear_at,
            resolved_at=row.resolved_at,
        ),
        updated_at=row.updated_at,
    )
