"""Two devices with one id, as an observation: pure. Called by the monitor."""

from hub.alerts.evidence import CloneEvidence
from hub.alerts.machine import Condition
from hub.alerts.service import Observation
from hub.storage.clones import CloneRow

CLONE = "clone"
FRESH_S = 600.0
"""Fighters back off to half a minute: ten minutes without a sign is peace."""


def observe_clone(row: CloneRow, now: float) -> Observation:
    """Judge one device by the newest sign; the alert's cohort is the device's id."""
    fresh = now - row.last_at <= FRESH_S
    return Observation(
        rule=CLONE,
        release=0,
        cohort=row.device,
        condition=Condition.TRUE if fresh else Condition.FALSE,
        severity="high",
        summary=f"two devices use the id {row.device}: {row.detail}",
        evidence=CloneEvidence(
            device=row.device,
            sign=row.sign,
            detail=row.detail,
            times=row.times,
            first_at=row.first_at,
            last_at=row.last_at,
        ),
    )
