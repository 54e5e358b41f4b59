"""The rule before webhooks and commands: when it fires, and when it must not."""

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.config_flows import Rule
from edge_agent.serve.sinks.rule import RuleBook, RuleState, step

seen = st.lists(
    st.tuples(
        st.sampled_from(["fall", "walk"]),
        st.floats(0, 1),
        st.floats(0, 5),
    ),
    max_size=60,
)
rules = st.builds(
    Rule,
    labels=st.sampled_from([[], ["fall"], ["fall", "walk"]]),
    confidence=st.floats(0, 1),
    windows=st.integers(1, 5),
    cooldown_s=st.floats(0, 20),
)


@given(rule=rules, predictions=seen)
def test_it_fires_only_for_a_whole_run_and_not_within_the_cooldown(
    rule: Rule, predictions: list[tuple[str, float, float]]
) -> None:
    """Every firing has its windows behind it, and the cooldown since the last one."""
    state, now_s, fired_at = RuleState(), 0.0, float("-inf")
    matched: list[bool] = []
    for label, confidence, passed_s in predictions:
        now_s += passed_s
        state, fires = step(rule, state, label, confidence, now_s)
        right = not rule.labels or label in rule.labels
        matched.append(right and confidence >= rule.confidence)
        run = matched[-rule.windows :]
        whole = len(run) == rule.windows and all(run)
        # Both ways: it fires exactly when it may.
        assert fires == (whole and now_s >= fired_at + rule.cooldown_s)
        if fires:
            fired_at = now_s


@given(rule=rules, predictions=seen)
def test_streams_do_not_add_up(
    rule: Rule, predictions: list[tuple[str, float, float]]
) -> None:
    """Two sensors that take turns count each for itself."""
    single, double = RuleBook(rule), RuleBook(rule)
    now_s = 0.0
    for number, (label, confidence, passed_s) in enumerate(predictions):
        now_s += passed_s
        alone = single.judge("a", label, confidence, now_s)
        stream = "ab"[number % 2]
        together = double.judge(stream, label, confidence, now_s)
        if together and rule.cooldown_s == 0:
            before = predictions[number::-2][: rule.windows]
            assert len(before) == rule.windows
        if rule.windows == 1:
            assert alone == together


def test_a_rule_names_its_class() -> None:
    """Three falls in a row, surely enough, and then quiet for a minute."""
    book = RuleBook(Rule(labels=["fall"], confidence=0.8, windows=3, cooldown_s=60))
    said = [("fall", 0.9)] * 2 + [("walk", 0.99)] + [("fall", 0.8)] * 4
    fired = [
        at
        for at, (label, confidence) in enumerate(said)
        if book.judge("s", label, confidence, float(at))
    ]
    assert fired == [5]
    assert book.judge("s", "fall", 0.9, 65.0)
    assert not book.judge("s", "fall", 0.79, 200.0)
