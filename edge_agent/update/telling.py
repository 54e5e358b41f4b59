"""How a step of an activation is told: the record for the hub, the line in the log."""

import logging

from msgspec import UNSET

from edge_agent.update.machine import Report
from edge_agent.wire.records import EventRecord, UpdateRecord

UPDATE_PHASE = "update.phase"
UPDATE_END = "update.end"

log = logging.getLogger(__name__)


def record_of(report: Report, at: float, note: str) -> UpdateRecord:
    """Return the record of a report at a wall time; ``note`` if it has no detail."""
    return UpdateRecord(
        at=at,
        assignment_seq=report.seq,
        rollout=report.rollout,
        release=report.release,
        phase=report.phase.value,
        outcome=report.outcome,
        code=report.code,
        detail=report.detail or note,
        shadow=report.shadow or UNSET,
        paired=report.paired or UNSET,
        evidence=report.evidence or UNSET,
    )


def log_report(report: Report) -> None:
    """Log a report: a phase, or how it all ended."""
    facts = {
        "release": report.release,
        "phase": report.phase.value,
        "seq": report.seq,
    }
    if not report.outcome:
        log.info(UPDATE_PHASE, extra=facts)
        return
    facts |= {"outcome": report.outcome, "code": report.code, "detail": report.detail}
    if report.evidence:
        facts["evidence"] = report.evidence
    level = logging.INFO if report.outcome == "committed" else logging.WARNING
    log.log(level, UPDATE_END, extra=facts)


def clock_event(wall: float, ahead_s: float) -> EventRecord:
    """Report that the device's clock and the hub's signed time exclude each other.

    Args:
        wall: What the device's clock says.
        ahead_s: How far the signed time is ahead of a clock that can be right, or 0.
    """
    text = (
        "the device's clock cannot be right: the expiry of metadata is judged by the"
        " newest time that the hub signed; set the clock (NTP)"
    )
    if ahead_s:
        text = (
            f"the hub's signed time is ahead of the device's clock by"
            f" {ahead_s / 86_400:.1f} days, and expiry is judged by it: if the device's"
            " clock is wrong, set it (NTP); if the hub's was, give the hub a new online"
            " key (`hub keys rotate online`)"
        )
    return EventRecord(
        at=wall,
        code="AGENT-CLOCK-002" if ahead_s else "AGENT-CLOCK-001",
        severity="warning",
        text=text,
        facts={"clock_untrusted": "true"},
    )
