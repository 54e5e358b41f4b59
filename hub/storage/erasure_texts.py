"""A device's id in what is said of others: alerts, rollouts, jobs.

What counts devices keeps its counts. Plain functions; the caller owns the transaction.
"""

import re
from dataclasses import replace

import msgspec
from sqlalchemy import Connection, Table, delete, or_, select, update

from hub.alerts.evidence import (
    CloneEvidence,
    DriftEvidence,
    Evidence,
    LateEvidence,
    MetadataEvidence,
    NoDataEvidence,
)
from hub.rollout.plan import Plan
from hub.storage.tables import ALERTS, ROLLOUT_EVENTS, ROLLOUTS

NOBODY = "(forgotten)"
"""What stands where the id of a device stood in a text."""
_decode_evidence = msgspec.json.Decoder(Evidence)

_Json = dict[str, "_Json"] | list["_Json"] | str | float | bool | None


def scrub(text: str, device: str) -> str:
    """Return a text without the id of a device."""
    whole = rf"(?<![A-Za-z0-9_-]){re.escape(device)}(?![A-Za-z0-9_-])"
    return re.sub(whole, NOBODY, text)


def erase_texts(
    conn: Connection, table: Table, device: str, names: tuple[str, ...]
) -> int:
    """Take a device's id out of columns of text; return how many rows changed."""
    named = or_(*(table.c[name].contains(device, autoescape=True) for name in names))
    rows = 0
    columns = [table.c[name] for name in names]
    for row in conn.execute(select(table.c.id, *columns).where(named)).all():
        before = dict(zip(names, row[1:], strict=True))
        after = {name: scrub(text, device) for name, text in before.items()}
        if after != before:
            conn.execute(update(table).where(table.c.id == row.id).values(after))
            rows += 1
    return rows


def erase_alerts(conn: Connection, device: str) -> int:
    """Delete the alerts on a device alone, and take it out of those on several."""
    rows = 0
    named = or_(
        ALERTS.c.cohort == device,
        ALERTS.c.evidence.contains(device, autoescape=True),
        ALERTS.c.summary.contains(device, autoescape=True),
    )
    for row in conn.execute(select(ALERTS).where(named)).all():
        evidence = _without(_decode_evidence.decode(row.evidence), device)
        if evidence is None:
            conn.execute(delete(ALERTS).where(ALERTS.c.id == row.id))
            rows += 1
            continue
        values = {
            "evidence": msgspec.json.encode(evidence).decode(),
            "summary": scrub(row.summary, device),
        }
        if values != {"evidence": row.evidence, "summary": row.summary}:
            conn.execute(update(ALERTS).where(ALERTS.c.id == row.id).values(values))
            rows += 1
    return rows


def erase_rollouts(conn: Connection, device: str) -> int:
    """Take a device out of plans, reasons, and the facts of decisions."""
    rows = erase_texts(conn, ROLLOUTS, device, ("reason",))
    named = ROLLOUTS.c.plan.contains(device, autoescape=True)
    for row in conn.execute(select(ROLLOUTS.c.id, ROLLOUTS.c.plan).where(named)).all():
        plan = _plan_without(msgspec.json.decode(row.plan, type=Plan), device)
        text = msgspec.json.encode(plan).decode()
        if text != row.plan:
            where = ROLLOUTS.c.id == row.id
            conn.execute(update(ROLLOUTS).where(where).values(plan=text))
            rows += 1
    events = ROLLOUT_EVENTS.c
    rows += erase_texts(conn, ROLLOUT_EVENTS, device, ("reason",))
    named = events.inputs.contains(device, autoescape=True)
    for row in conn.execute(select(events.id, events.inputs).where(named)).all():
        inputs = _facts_without(msgspec.json.decode(row.inputs), device)
        text = msgspec.json.encode(inputs).decode()
        if text != row.inputs:
            where = events.id == row.id
            conn.execute(update(ROLLOUT_EVENTS).where(where).values(inputs=text))
            rows += 1
    return rows


def _without(evidence: Evidence, device: str) -> Evidence | None:
    """Return evidence without a device; ``None`` if it is of nothing else."""
    if isinstance(evidence, CloneEvidence | MetadataEvidence):
        return None if evidence.device == device else evidence
    if isinstance(evidence, DriftEvidence | LateEvidence | NoDataEvidence):
        kept = [one for one in evidence.devices if one.device != device]
        return msgspec.structs.replace(evidence, devices=kept)
    return evidence


def _plan_without(plan: Plan, device: str) -> Plan:
    return replace(
        plan,
        devices={name: at for name, at in plan.devices.items() if name != device},
        gone={name: why for name, why in plan.gone.items() if name != device},
        left_out={name: scrub(why, device) for name, why in plan.left_out.items()},
        approvals=tuple(
            replace(
                one,
                devices=tuple(name for name in one.devices if name != device),
                why=scrub(one.why, device),
            )
            for one in plan.approvals
        ),
    )


def _facts_without(value: _Json, device: str) -> _Json:
    """Return the facts of a decision without what is of a device, or names it.

    The facts are a document for people: keys other than devices' ids are left alone.
    """
    if isinstance(value, str):
        return scrub(value, device)
    if isinstance(value, list):
        return [
            _facts_without(one, device)
            for one in value
            if one != device
            and not (isinstance(one, dict) and one.get("device") == device)
        ]
    if isinstance(value, dict):
        return {
            name: _facts_without(_keyed(name, one, device), device)
            for name, one in value.items()
        }
    return value


def _keyed(name: str, value: _Json, device: str) -> _Json:
    """Return a map from devices without one of them; anything else as it is."""
    if name in {"given", "gone", "prior"} and isinstance(value, dict):
        return {key: one for key, one in value.items() if key != device}
    return value
