"""Whether a release that runs in shadow may be activated: a pure decision.

Its answers reach nobody. They are compared pair by pair with those of the active
release, on the same samples of this very device, by the statistics of the paired test
(:mod:`edge_agent.evidence.judge`). Live traffic adds what kept samples cannot know: the
load, and new kinds of input. Too little evidence at the deadline is no breach and no
success: the release goes on to its probation, and what is reported says on how many
pairs.
"""

from dataclasses import dataclass

from edge_agent.evidence.judge import (
    PairedFigures,
    PairedVerdict,
    Result,
    Source,
    decide_paired,
)
from edge_agent.update.probation import ERRORS_ALLOWED, Judgement, Verdict
from edge_agent.wire.control import PairedPolicy, ShadowPolicy
from edge_agent.wire.records import ShadowSummary

ERRORS = "AGENT-UPDATE-070"
DISAGREES = "AGENT-UPDATE-071"
STUCK = "AGENT-UPDATE-073"
NOT_RUNNING = "AGENT-UPDATE-074"

STUCK_S = 5.0
"""A single inference that takes longer never ends."""
LOADING_S = 60.0
"""Loading that takes longer never ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowState:
    """What the worker says of the release that it runs in shadow.

    ``busy_s`` is how long the present step (loading, while not ``ready``, or one
    inference) has taken; ``problem`` is why it does not run, or empty. ``figures`` are
    those of its latest pairs with the active release, the older release as the
    incumbent; ``None`` where one of them keeps state between samples.
    """

    summary: ShadowSummary
    ready: bool = False
    busy_s: float = 0.0
    problem: str = ""
    figures: PairedFigures | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowRules:
    """What a release in shadow is held to.

    ``published_drop`` is the drop of confidence that the release itself publishes.
    ``settled``: kept samples have already shown it to be as good as the active one, so
    live pairs need not.
    """

    shadow: ShadowPolicy
    paired: PairedPolicy = PairedPolicy()
    published_drop: float = 0.0
    settled: bool = False


def judge_live(state: ShadowState, rules: ShadowRules) -> PairedVerdict | None:
    """Judge the live pairs; ``None`` where the worker has no figures of them."""
    if state.figures is None:
        return None
    return decide_paired(
        state.figures,
        rules.paired,
        published_drop=rules.published_drop,
        source=Source.LIVE,
    )


def decide(state: ShadowState, rules: ShadowRules, elapsed_s: float) -> Judgement:
    """Judge a release in shadow after ``elapsed_s`` seconds of it."""
    broken = _broken(state)
    if broken is not None:
        return broken
    live = judge_live(state, rules)
    if live is not None and live.result is Result.FAIL:
        return _breach(live.code, f"in shadow: {live.reason}")
    summary, policy = state.summary, rules.shadow
    enough = summary.n + summary.errors >= policy.min_samples
    if enough and (breach := _compare(state, policy)) is not None:
        return breach
    told = rules.settled or live is None or live.result is Result.OK
    soon = not (enough and told) or elapsed_s < policy.min_s
    if not state.ready or (soon and elapsed_s < policy.deadline_s):
        return Judgement(verdict=Verdict.WAIT)
    return Judgement(verdict=Verdict.PASS, detail=f"{summary.n} pairs")


def _broken(state: ShadowState) -> Judgement | None:
    if state.problem:
        return _breach(NOT_RUNNING, f"it cannot be run in shadow: {state.problem}")
    if state.busy_s > (STUCK_S if state.ready else LOADING_S):
        doing = "an inference" if state.ready else "loading"
        return _breach(STUCK, f"{doing} has not ended for {state.busy_s:.0f} s")
    return None


def _compare(state: ShadowState, policy: ShadowPolicy) -> Judgement | None:
    summary = state.summary
    tried = summary.n + summary.errors
    allowed = max(ERRORS_ALLOWED, policy.error_ratio_max * tried)
    if state.figures is None and summary.errors > allowed:
        return _breach(
            ERRORS,
            f"fails on {summary.errors} of {tried} samples that the active release"
            f" answered, limit {allowed:.1f}",
        )
    if summary.disagreement_ratio > policy.disagreement_max:
        return _breach(
            DISAGREES,
            f"{summary.disagreement_ratio:.1%} of {summary.n} samples get another"
            f" class, limit {policy.disagreement_max:.1%}",
        )
    return None


def _breach(code: str, detail: str) -> Judgement:
    return Judgement(verdict=Verdict.BREACH, code=code, detail=detail)
