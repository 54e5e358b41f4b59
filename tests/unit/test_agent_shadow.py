"""Judging a release in shadow: what is a breach, what is waited for, what passes."""

import pytest
from msgspec.structs import replace

from edge_agent.update.probation import Verdict
from edge_agent.update.shadow import (
    DISAGREES,
    ERRORS,
    LOADING_S,
    NOT_RUNNING,
    SLOWER,
    STUCK,
    STUCK_S,
    UNSURE,
    ShadowState,
    decide,
)
from edge_agent.wire.control import ShadowPolicy
from edge_agent.wire.records import ShadowSummary

POLICY = ShadowPolicy(min_samples=20, min_s=2.0, deadline_s=60.0, disagreement_max=0.3)
GOOD = ShadowSummary(release=2, n=20, disagreement_ratio=0.1, latency_ratio=1.2)


def state(summary: ShadowSummary = GOOD, *, busy_s: float = 0.0) -> ShadowState:
    """Return a shadow that is loaded."""
    return ShadowState(summary=summary, ready=True, busy_s=busy_s)


def test_agreement_passes() -> None:
    """Enough pairs within the limits, and enough time, let the release on."""
    assert decide(state(), POLICY, 3.0).verdict is Verdict.PASS


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
    assert decide(now, POLICY, elapsed_s).verdict is Verdict.WAIT


@pytest.mark.parametrize(
    ("now", "code"),
    [
        (state(replace(GOOD, n=19, errors=1)), ERRORS),
        (state(replace(GOOD, n=0, errors=20)), ERRORS),
        (state(replace(GOOD, disagreement_ratio=0.31)), DISAGREES),
        (state(replace(GOOD, latency_ratio=10.1)), SLOWER),
        (state(replace(GOOD, confidence_shift=-0.31)), UNSURE),
        (state(busy_s=STUCK_S + 1), STUCK),
        (ShadowState(summary=GOOD, busy_s=LOADING_S + 1), STUCK),
        (ShadowState(summary=GOOD, problem="AGENT-MODEL-001"), NOT_RUNNING),
    ],
)
def test_breach_has_its_own_code(now: ShadowState, code: str) -> None:
    """Each way to fail is told apart, as soon as it is known."""
    judgement = decide(now, POLICY, 0.5)

    assert (judgement.verdict, judgement.code) == (Verdict.BREACH, code)
    assert judgement.detail


def test_quiet_device_goes_on() -> None:
    """At the deadline a release that breached nothing passes on however few pairs."""
    judgement = decide(state(replace(GOOD, n=3)), POLICY, 60.0)

    assert (judgement.verdict, judgement.detail) == (Verdict.PASS, "3 pairs")
