"""Judging a release in shadow: what is a breach, what is waited for, what passes."""

from dataclasses import replace as replace_figures
from dataclasses import replace as replace_rules

import pytest
from msgspec.structs import replace

from edge_agent.evidence import judge
from edge_agent.evidence.judge import PairedFigures, Statistic
from edge_agent.update.probation import Verdict
from edge_agent.update.shadow import (
    DISAGREES,
    ERRORS,
    LOADING_S,
    NOT_RUNNING,
    STUCK,
    STUCK_S,
    ShadowRules,
    ShadowState,
    decide,
)
from edge_agent.wire.control import ShadowPolicy
from edge_agent.wire.records import ShadowSummary

POLICY = ShadowPolicy(min_samples=20, min_s=2.0, deadline_s=60.0, disagreement_max=0.3)
RULES = ShadowRules(shadow=POLICY)
GOOD = ShadowSummary(release=2, n=20, disagreement_ratio=0.1, latency_ratio=1.2)


PAIRS = PairedFigures(
    n=64, statistic=Statistic.THEIL_U, association=0.7, entropy=1.5, confidence_drop=0.0
)


def state(summary: ShadowSummary = GOOD, *, busy_s: float = 0.0) -> ShadowState:
    """Return a shadow that is loaded."""
    return ShadowState(summary=summary, ready=True, busy_s=busy_s)


def test_agreement_passes() -> None:
    """Enough pairs within the limits, and enough time, let the release on."""
    assert decide(state(), RULES, 3.0).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("now", "elapsed_s"),
    [
        (state(), 1.0),
        (state(replace(GOOD, n=19)), 30.0),
        (ShadowState(summary=GOOD), 30.0),
        (ShadowState(summary=GOOD, busy_s=LOADING_S - 1), 90.0),
        (state(replace(GOOD, n=19, disagreement_ratio=1.0)), 30.0),
    ],
    ids=["too soon", "too few", "loading", "loading slowly", "too few to judge"],
)
def test_more_is_waited_for(now: ShadowState, elapsed_s: float) -> None:
    """Neither time nor pairs alone decide, and few bad pairs are no verdict."""
    assert decide(now, RULES, elapsed_s).verdict is Verdict.WAIT


@pytest.mark.parametrize(
    ("now", "code"),
    [
        (state(replace(GOOD, n=19, errors=6)), ERRORS),
        (state(replace(GOOD, n=0, errors=20)), ERRORS),
        (state(replace(GOOD, disagreement_ratio=0.31)), DISAGREES),
        (state(busy_s=STUCK_S + 1), STUCK),
        (ShadowState(summary=GOOD, busy_s=LOADING_S + 1), STUCK),
        (ShadowState(summary=GOOD, problem="AGENT-MODEL-001"), NOT_RUNNING),
    ],
)
def test_breach_has_its_own_code(now: ShadowState, code: str) -> None:
    """Each way to fail is told apart, as soon as it is known."""
    judgement = decide(now, RULES, 0.5)

    assert (judgement.verdict, judgement.code) == (Verdict.BREACH, code)
    assert judgement.detail


def test_quiet_device_goes_on() -> None:
    """At the deadline a release that breached nothing passes on however few pairs."""
    judgement = decide(state(replace(GOOD, n=3)), RULES, 60.0)

    assert (judgement.verdict, judgement.detail) == (Verdict.PASS, "3 pairs")


def with_pairs(**changes: object) -> ShadowState:
    """Return a shadow with figures of its pairs."""
    figures = replace_figures(PAIRS, **changes)  # type: ignore[arg-type]
    return ShadowState(summary=GOOD, ready=True, figures=figures)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"association": 0.05}, judge.UNRELATED),
        ({"confidence_drop": 0.2}, judge.LESS_CONFIDENT),
        ({"n": 10, "candidate_failures": 8}, judge.FAILURES),
    ],
)
def test_live_pairs_are_held_to_the_limits_of_the_paired_test(
    changes: dict[str, object], code: str
) -> None:
    """The same statistics on live samples stop it, whatever kept samples said."""
    judgement = decide(with_pairs(**changes), replace_rules(RULES, settled=True), 0.5)

    assert (judgement.verdict, judgement.code) == (Verdict.BREACH, code)


def test_a_slow_thread_and_less_confidence_than_once_allowed_stop_nobody() -> None:
    """Times of a thread that wakes cold, and fixed limits of old hubs, do not count."""
    slow = replace(GOOD, latency_ratio=50.0, confidence_shift=-0.5)

    assert decide(state(slow), RULES, 3.0).verdict is Verdict.PASS


def test_pairs_are_waited_for_where_kept_samples_settled_nothing() -> None:
    """Live pairs can say what a small ring could not; the deadline ends that."""
    few = with_pairs(n=30)

    assert decide(few, RULES, 3.0).verdict is Verdict.WAIT
    assert decide(few, replace_rules(RULES, settled=True), 3.0).verdict is Verdict.PASS
    assert decide(few, RULES, 60.0).verdict is Verdict.PASS
    assert decide(with_pairs(), RULES, 3.0).verdict is Verdict.PASS
