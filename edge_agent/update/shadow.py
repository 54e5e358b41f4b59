"""Whether a release that runs in shadow may be activated: a pure decision.

Its answers reach nobody. They are compared pair by pair with those of the active
release, on the same samples of this very device, so neither the data nor the device
can be the difference. Too little evidence at the deadline is no breach: a quiet or busy
device goes on to its probation, and the hub sees on how many pairs that was decided.
"""

from dataclasses import dataclass

from edge_agent.evidence.judge import PairedFigures
from edge_agent.update.probation import Judgement, Verdict
from edge_agent.wire.control import ShadowPolicy
from edge_agent.wire.records import ShadowSummary

ERRORS = "AGENT-UPDATE-070"
DISAGREES = "AGENT-UPDATE-071"
SLOWER = "AGENT-UPDATE-072"
STUCK = "AGENT-UPDATE-073"
NOT_RUNNING = "AGENT-UPDATE-074"
UNSURE = "AGENT-UPDATE-075"

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


def decide(state: ShadowState, policy: ShadowPolicy, elapsed_s: float) -> Judgement:
    """Judge a release in shadow after ``elapsed_s`` seconds of it."""
    broken = _broken(state)
    if broken is not None:
        return broken
    summary, late = state.summary, elapsed_s >= policy.deadline_s
    enough = summary.n + summary.errors >= policy.min_samples
    if enough and (breach := _compare(summary, policy)) is not None:
        return breach
    early = not (enough and elapsed_s >= policy.min_s) and not late
    if early or not state.ready:
        return Judgement(verdict=Verdict.WAIT)
    return Judgement(verdict=Verdict.PASS, detail=f"{summary.n} pairs")


def _broken(state: ShadowState) -> Judgement | None:
    if state.problem:
        return _breach(NOT_RUNNING, f"it cannot be run in shadow: {state.problem}")
    if state.busy_s > (STUCK_S if state.ready else LOADING_S):
        doing = "an inference" if state.ready else "loading"
        return _breach(STUCK, f"{doing} has not ended for {state.busy_s:.0f} s")
    return None


def _compare(summary: ShadowSummary, policy: ShadowPolicy) -> Judgement | None:
    errors = summary.errors / (summary.n + summary.errors)
    if errors > policy.error_ratio_max:
        return _breach(
            ERRORS,
            f"{errors:.1%} of samples that the active release answered fail, limit"
            f" {policy.error_ratio_max:.1%}",
        )
    if summary.disagreement_ratio > policy.disagreement_max:
        return _breach(
            DISAGREES,
            f"{summary.disagreement_ratio:.1%} of {summary.n} samples get another"
            f" class, limit {policy.disagreement_max:.1%}",
        )
    if -summary.confidence_shift > policy.confidence_drop_max:
        return _breach(
            UNSURE,
            f"mean confidence is {-summary.confidence_shift:.2f} below that of the"
            f" active release, limit {policy.confidence_drop_max:g}",
        )
    if summary.latency_ratio > policy.latency_ratio_max:
        return _breach(
            SLOWER,
            f"median latency is {summary.latency_ratio:.1f} times that of the active"
            f" release, limit {policy.latency_ratio_max:g}",
        )
    return None


def _breach(code: str, detail: str) -> Judgement:
    return Judgement(verdict=Verdict.BREACH, code=code, detail=detail)
