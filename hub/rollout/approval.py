"""A person lets a stage go on without the evidence that it lacks.

Plain functions; the caller owns the transaction. Called by
:mod:`hub.rollout.service`.
"""

from dataclasses import replace

from sqlalchemy import Connection

from hub.errors import ConflictError
from hub.rollout.applying import note
from hub.rollout.device_facts import Outcome, class_name
from hub.rollout.gates.evidence import missing
from hub.rollout.gates.labels import judge_labels
from hub.rollout.gates.result import Decision, StageFacts
from hub.rollout.judge import judge
from hub.rollout.machine import RolloutFacts, Step, stage_facts
from hub.rollout.plan import Approval
from hub.rollout.states import STAGED
from hub.storage import rollouts as store
from hub.storage.rollouts import RolloutRow


def approve(
    conn: Connection,
    row: RolloutRow,
    facts: RolloutFacts,
    approval: Approval,
    now: float,
) -> None:
    """Note that a person lets pass what the present stage has no evidence of.

    ``approval`` says who and why; what it covers is found here. That is only what is
    inconclusive or unsure *now*: devices of later stages, and failures, are judged as
    ever.

    Raises:
        ConflictError: There is nothing to approve (``HUB-ROLLOUT-007``), or failures
            or labels abort it (``HUB-ROLLOUT-008``).
    """
    if row.state not in STAGED:
        raise ConflictError(
            "HUB-ROLLOUT-007",
            f"{row.id} is {row.state}: there is nothing to approve",
            cure="only a stage under way can be approved",
        )
    deadline_at = facts.stage_started_at + row.plan.stage_deadline_s
    stage = stage_facts(facts, deadline_at=deadline_at, overdue=now >= deadline_at)
    verdict = judge(stage)
    if verdict.decision is Decision.ABORT:
        raise ConflictError(
            "HUB-ROLLOUT-008",
            f"{row.id} is being stopped, which nobody can approve: {verdict.reason}",
            cure="roll out a better release",
        )
    approval = _covering(stage, approval)
    plan = replace(row.plan, approvals=(*row.plan.approvals, approval))
    store.store_plan(conn, row.id, plan)
    step = Step(state=facts.state, stage=facts.stage, verdict=verdict)
    note(conn, row, facts, step, _text(approval), now)


def _covering(stage: StageFacts, approval: Approval) -> Approval:
    lacks = missing(stage)
    labels = judge_labels(stage).decision is Decision.HOLD
    runs_it = stage.with_outcome(Outcome.OK, Outcome.INCONCLUSIVE)
    if not runs_it or not (lacks or labels):
        why_not = "no evidence is missing" if runs_it else "no device runs it yet"
        raise ConflictError(
            "HUB-ROLLOUT-007",
            f"there is nothing to approve in {stage.rollout}: {why_not}",
            cure=f"`hub rollouts get {stage.rollout}` says what it waits for",
        )
    return replace(
        approval,
        devices=tuple(device.device for device in lacks.devices),
        classes=tuple(lacks.classes),
        labels=labels,
    )


def _text(approval: Approval) -> str:
    what = [f"{len(approval.devices)} inconclusive devices"] if approval.devices else []
    what += [f"no conclusive {class_name(name)}" for name in approval.classes]
    what += ["labels that are not sure"] if approval.labels else []
    return f"approved by {approval.who}: {approval.why} ({', '.join(what)})"
