"""Carrying out one step of the engine inside the caller's transaction.

Every effect is in the transaction of the facts it was decided on: a crash before the
commit leaves the step to be decided again, after it nothing is missing.
"""

import logging
from dataclasses import replace

import msgspec
from sqlalchemy import Connection

from hub.devices.terms import Terms
from hub.rollout.assigner import Assigner, terms_of
from hub.rollout.device_facts import UNTESTED, Outcome
from hub.rollout.gates.failures import left_out_text
from hub.rollout.gone import gone_text
from hub.rollout.machine import RolloutFacts, Step
from hub.rollout.present import present_for
from hub.storage import rollouts as store
from hub.storage.rollouts import RolloutDeviceRow, RolloutEventRow, RolloutRow

log = logging.getLogger(__name__)

ROLLOUT_STATE = "rollout.state"
ROLLOUT_RETRY = "rollout.retry"
ROLLOUT_LEFT_OUT = "rollout.left_out"
ROLLOUT_GONE = "rollout.gone"


def apply_step(
    conn: Connection,
    assigner: Assigner,
    facts: RolloutFacts,
    decided: Step,
    now: float,
) -> None:
    """Carry out a step of a rollout."""
    row = store.get_rollout(conn, facts.rollout)
    if row is None:
        return
    _assign(conn, assigner, row, facts, decided.assign, now)
    for device in decided.withdraw:
        if back := facts.back_to(device):
            assigner.assign_in(conn, device, back, row.id)
        else:
            assigner.withdraw_in(conn, device, row.id)
    # Outcomes first: a retry makes its device's outcome pending again.
    for changed in _changed(conn, row, facts, decided):
        at = now if changed.outcome else None
        store.store_outcome(conn, replace(changed, decided_at=at))
    for device in decided.retry:
        _retry(conn, assigner, row, facts, device, now)
    if decided.leave_out:
        left_out = {**row.plan.left_out, **decided.leave_out}
        store.store_plan(conn, row.id, replace(row.plan, left_out=left_out))
        text = left_out_text(decided.leave_out)
        note(conn, row, facts, decided, text, now)
        extra = {"rollout": row.id, "classes": sorted(decided.leave_out)}
        log.warning(ROLLOUT_LEFT_OUT, extra=extra)
    _move(conn, row, facts, decided, now)


def note(  # noqa: PLR0913, PLR0917 - a row of a table
    conn: Connection,
    row: RolloutRow,
    facts: RolloutFacts,
    decided: Step,
    text: str,
    now: float,
) -> None:
    """Note something that happened to a rollout without moving it."""
    event = RolloutEventRow(
        at=now,
        from_state=str(row.state),
        to_state=str(row.state),
        reason=text,
        inputs=_encode_inputs(facts, decided),
    )
    store.insert_event(conn, row.id, event)


def note_gone(
    conn: Connection, row: RolloutRow, facts: RolloutFacts, now: float
) -> None:
    """Note which devices take part in a rollout no more, or that all do again."""
    text = gone_text(row.plan.gone)
    text = f"leaves out {text}" if text else "every device takes part again"
    note(conn, row, facts, Step(state=facts.state, stage=facts.stage), text, now)
    log.info(ROLLOUT_GONE, extra={"rollout": row.id, "devices": len(row.plan.gone)})


def is_news(
    conn: Connection, row: RolloutRow, facts: RolloutFacts, decided: Step
) -> bool:
    """Tell whether a step changes anything."""
    if decided.event or decided.assign or decided.withdraw:
        return True
    if decided.retry or decided.leave_out or decided.reason not in {"", row.reason}:
        return True
    return bool(_changed(conn, row, facts, decided))


def _move(
    conn: Connection, row: RolloutRow, facts: RolloutFacts, decided: Step, now: float
) -> None:
    if decided.event is None:
        if decided.reason not in {"", row.reason}:
            store.store_reason(conn, row.id, decided.reason, now)
        return
    event = RolloutEventRow(
        at=now,
        from_state=str(row.state),
        to_state=str(decided.state),
        reason=decided.reason,
        inputs=_encode_inputs(facts, decided),
    )
    store.store_transition(conn, row, event, stage=decided.stage)
    log.info(
        ROLLOUT_STATE,
        extra={
            "rollout": row.id,
            "release": row.release,
            "state": str(decided.state),
            "stage": decided.stage,
            "reason": decided.reason,
        },
    )


def _assign(  # noqa: PLR0913, PLR0917 - what new rows are made of
    conn: Connection,
    assigner: Assigner,
    row: RolloutRow,
    facts: RolloutFacts,
    devices: list[str],
    now: float,
) -> None:
    hardware = {device.device: device.hardware for device in facts.devices}
    classes = {hardware[device] for device in devices}
    present = {one: present_for(conn, one) for one in classes}
    terms = terms_of(row.plan)
    for device in devices:
        prior = present[hardware[device]]
        seq = assigner.assign_in(conn, device, row.release, row.id, terms)
        store.insert_rollout_device(
            conn,
            RolloutDeviceRow(
                rollout=row.id,
                device=device,
                stage=row.plan.devices[device],
                assigned_seq=seq,
                assigned_at=now,
                outcome="",
                code="",
                detail="",
                decided_at=None,
                prior_release=None if prior == row.incumbent else prior,
            ),
        )


def _retry(  # noqa: PLR0913, PLR0917 - what a new row is made of
    conn: Connection,
    assigner: Assigner,
    row: RolloutRow,
    facts: RolloutFacts,
    device: str,
    now: float,
) -> None:
    """Give a device the release once more, past its own quarantine of it."""
    failed = next(one for one in facts.devices if one.device == device)
    why = f"{failed.code} {failed.detail}".strip()
    terms = terms_of(row.plan)
    again = Terms(paired=terms.paired, shadow=terms.shadow, forced=True)
    given = store.rollout_devices(conn, row.id)[device]
    store.store_retry(
        conn,
        replace(
            given,
            assigned_seq=assigner.assign_in(conn, device, row.release, row.id, again),
            assigned_at=now,
            retries=given.retries + 1,
            retried_after=why,
        ),
    )
    text = f"{failed.where} gets release {row.release} once more after {why}"
    step = Step(state=facts.state, stage=facts.stage)
    note(conn, row, facts, step, text, now)
    log.info(ROLLOUT_RETRY, extra={"rollout": row.id, "device": device, "code": why})


def _changed(
    conn: Connection, row: RolloutRow, facts: RolloutFacts, decided: Step
) -> list[RolloutDeviceRow]:
    """Return the rows of which something else became, as they shall be now."""
    if not decided.outcomes:
        return []
    given = store.rollout_devices(conn, row.id)
    changed: list[RolloutDeviceRow] = []
    for device in facts.devices:
        outcome = decided.outcomes.get(device.device)
        if outcome is None:
            continue
        detail = device.detail
        if outcome is Outcome.OK and device.evidence == UNTESTED:
            detail = "untested on live input"
        known = given[device.device]
        # The words of an inconclusive device change as its samples come.
        same = outcome is not Outcome.INCONCLUSIVE or known.detail == detail
        if known.outcome != outcome or not same:
            new = replace(known, outcome=str(outcome), code=device.code, detail=detail)
            changed.append(new)
    return changed


def _encode_inputs(facts: RolloutFacts, decided: Step) -> str:
    """Encode what a decision was made from, without the plan that is stored anyway."""
    inputs = {
        "stage": facts.stage,
        "stage_started_at": facts.stage_started_at,
        "candidate": facts.candidate,
        "incumbent": facts.incumbent,
        "devices": facts.devices,
        "cells": facts.cells,
        "losses": facts.losses,
        "left_out": facts.plan.left_out,
        "gone": facts.plan.gone,
        "given": facts.given,
        "verdict": decided.verdict,
    }
    return msgspec.json.encode(inputs).decode()
