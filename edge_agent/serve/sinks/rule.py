"""When a rule is fulfilled: a class, seen so surely, so many times in a row. Pure.

Invariants: it fires only when the last ``windows`` predictions of one stream all
matched; never twice within ``cooldown_s``; a prediction that does not match begins the
count anew. While everything matches it fires again as soon as the cooldown is over.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace

from edge_agent.config_flows import Rule

MAX_STREAMS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleState:
    """How many predictions in a row matched, and until when nothing fires."""

    run: int = 0
    quiet_until_s: float = float("-inf")


def step(
    rule: Rule, state: RuleState, label: str, confidence: float, now_s: float
) -> tuple[RuleState, bool]:
    """Return the state after a prediction, and whether the rule is fulfilled.

    Args:
        rule: The rule.
        state: Before it.
        label: The predicted class.
        confidence: Its probability.
        now_s: A monotonic time.
    """
    matches = confidence >= rule.confidence and (
        not rule.labels or label in rule.labels
    )
    if not matches:
        return replace(state, run=0), False
    # No more than is needed: a number that rises for ever is no state.
    state = replace(state, run=min(state.run + 1, rule.windows))
    if state.run < rule.windows or now_s < state.quiet_until_s:
        return state, False
    return replace(state, quiet_until_s=now_s + rule.cooldown_s), True


class RuleBook:
    """One rule over many streams; each counts for itself, the cooldown is shared."""

    def __init__(self, rule: Rule) -> None:
        """Begin with no prediction seen."""
        self._rule = rule
        self._runs: OrderedDict[str, int] = OrderedDict()
        self._quiet_until_s = float("-inf")

    def judge(self, stream: str, label: str, confidence: float, now_s: float) -> bool:
        """Take a prediction of a stream; tell whether the rule is fulfilled now."""
        state = RuleState(
            run=self._runs.get(stream, 0), quiet_until_s=self._quiet_until_s
        )
        state, fires = step(self._rule, state, label, confidence, now_s)
        self._quiet_until_s = state.quiet_until_s
        self._runs[stream] = state.run
        self._runs.move_to_end(stream)
        if len(self._runs) > MAX_STREAMS:
            self._runs.popitem(last=False)
        return fires
