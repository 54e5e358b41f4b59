"""Do late labels show a loss of accuracy? Pure.

The bounds are those of :mod:`hub.rollout.label_pairs`. Below the plan's
``accuracy_drop_max`` the upper bound promotes; above three fifths of it the lower one
aborts. In between the stage holds, after its deadline until a person settles it. Fewer
than four devices with labels enough decide nothing, and block only until the plan's
``min_labels`` have come where there are labels at all. With ``min_labels = 0`` labels
only stop a release: they never hold it.
"""

from hub.rollout.gates.evidence import settle_text
from hub.rollout.gates.result import Decision, GateResult, StageFacts
from hub.rollout.label_pairs import bound_loss

NAME = "labels"
_ABORTS_AT = 0.6
"""Of the limit that promotes: 3 points where that is 5."""


def judge_labels(facts: StageFacts) -> GateResult:
    """Decide by labels."""
    plan = facts.plan
    limit = plan.accuracy_drop_max
    bounds = bound_loss(facts.losses, limit)
    if bounds is not None and bounds.lower > _ABORTS_AT * limit:
        text = f"{bounds.text}; surely above {100 * _ABORTS_AT * limit:g} points"
        return _result(Decision.ABORT, text, bounds.lower, _ABORTS_AT * limit)
    settled = is_settled(facts)
    if facts.labelled and facts.labels < plan.min_labels and not settled:
        text = f"{facts.labels} of {plan.min_labels} comparable labels"
        return _hold(facts, text, facts.labels, plan.min_labels)
    if bounds is None:
        return _result(Decision.PROMOTE, "", 0, limit)
    if bounds.upper < limit or settled:
        return _result(Decision.PROMOTE, bounds.text, bounds.upper, limit)
    text = f"not sure yet: {bounds.text}, {100 * limit:g} points allowed"
    return _hold(facts, text, bounds.upper, limit)


def is_settled(facts: StageFacts) -> bool:
    """Tell whether labels need not decide in this stage any more."""
    if facts.soaking or not facts.plan.min_labels:
        return True
    if facts.overdue and facts.plan.promote_untested:
        return True
    return any(one.labels and one.stage >= facts.stage for one in facts.plan.approvals)


def _hold(facts: StageFacts, text: str, observed: float, limit: float) -> GateResult:
    text += f"; or: {settle_text(facts)}" if facts.overdue else ""
    return _result(Decision.HOLD, text, observed, limit)


def _result(decision: Decision, text: str, observed: float, limit: float) -> GateResult:
    return GateResult(
        name=NAME, decision=decision, observed=observed, limit=limit, text=text
    )
