"""Do shadows and paired tests say that the release answers otherwise? Pure.

Disagreement is no fault by itself, so its limit is the operator's; what paired tests
found has been judged on the devices and is told here.
"""

from hub.rollout.gates.result import Decision, GateResult, StageFacts
from hub.rollout.pairs import describe_paired, score_pairs

NAME = "shadow"


def judge_shadow(facts: StageFacts) -> GateResult:
    """Decide by the mean disagreement over devices."""
    agreement = score_pairs(d.shadow for d in facts.judged if d.shadow)
    limit = facts.plan.shadow_disagreement_max
    decision, text = Decision.PROMOTE, ""
    if agreement.surely_exceeds(limit):
        decision, text = Decision.ABORT, agreement.text
    elif agreement.exceeds(limit):
        decision, text = Decision.HOLD, f"not sure yet: {agreement.text}"
    elif agreement.devices:
        text = agreement.text
    if decision is Decision.PROMOTE:
        paired = describe_paired(d.paired for d in facts.judged if d.paired)
        text = "; ".join(filter(None, (text, paired)))
    return GateResult(
        name=NAME,
        decision=decision,
        observed=agreement.disagreement,
        limit=limit,
        text=text,
    )
