"""Ok, fail or inconclusive, from the answers of two releases to the same samples. Pure.

The unit of evidence is one sample of this device that the incumbent and the candidate
both were asked. Whatever the samples are (one class only, an hour of the night, a worn
sensor), both releases saw the same, so the mix of classes cancels. A candidate fails
for what it does worse than the incumbent *on these samples*; where they cannot tell
(too few, or the incumbent itself says next to nothing about them), the result is
inconclusive, which is neither a success nor a failure.

What this is blind to by nature: classes that are swapped one for the other, a lower
accuracy on every class, another unit of a regression's answer within its order. Only
true labels find these. Limits and their operating characteristics: OPERATIONS,
"Paired test"; imported by the supervisor, so without NumPy.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from msgspec import UNSET, UnsetType

from edge_agent.wire.control import PairedPolicy
from edge_agent.wire.profile import ReferenceProfile
from edge_agent.wire.profile import Source as ProfileSource
from edge_agent.wire.records import PairedSummary

FAILURES = "AGENT-UPDATE-110"
UNRELATED = "AGENT-UPDATE-111"
LESS_CONFIDENT = "AGENT-UPDATE-112"
SLOWER = "AGENT-UPDATE-113"
CRASHED = "AGENT-UPDATE-114"
HUNG = "AGENT-UPDATE-115"
UNUSABLE = "AGENT-UPDATE-116"

SOFT = frozenset({LESS_CONFIDENT, SLOWER})
"""Failures that a bad moment may cause: the hub retries a device once before it counts
them."""

FAILURES_OF = 256
"""The number of pairs that :attr:`PairedPolicy.failures_max` is stated for."""

LIVE_FAILURES_FROM = 256
"""From so many live pairs on, failures are held to their share of the limit.

Live pairs are judged at 64, 128, 256 and 512. With the shares of the first two looks
(1.25 and 2.5), 8 % of equal releases that each fail on 1 % of samples are stopped."""

LIVE_DEVIATIONS = 2.8
"""Standard deviations by which live failures must exceed what chance brings."""


class Result(StrEnum):
    """What the pairs say of the candidate."""

    OK = "ok"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


class Source(StrEnum):
    """Where the pairs come from."""

    RING = "ring"
    LIVE = "live"


class Statistic(StrEnum):
    """How much the candidate's answers still tell of the incumbent's: 1 all, 0 nothing.

    ``THEIL_U``: of classes; the share of the entropy of the incumbent's class that the
    candidate's class explains. ``RANK_CORRELATION``: of numbers, Spearman's, the best
    of the output's elements. ``DISTANCE_CORRELATION``: of embeddings, Spearman's
    between the pairwise distances of samples. ``SET_OVERLAP``: of detectors, the mean
    Jaccard index of the classes found in a sample, corrected for chance.
    """

    NONE = ""
    THEIL_U = "theil_u"
    RANK_CORRELATION = "rank_correlation"
    DISTANCE_CORRELATION = "distance_correlation"
    SET_OVERLAP = "set_overlap"


ASSOCIATION_MIN = {
    Statistic.RANK_CORRELATION: 0.3,
    Statistic.DISTANCE_CORRELATION: 0.3,
    Statistic.SET_OVERLAP: 0.1,
}
"""Least association of statistics other than Theil's U, whose limit is the policy's.

A rank correlation of 0.3 explains about the tenth of the variance that 0.10 is of the
entropy."""


VARIED_SHARE = 0.7
"""Share of the expected entropy from which samples are of enough kinds.

Within one activity two equally good releases may each waver between other classes, so
that neither's tells of the other's; of 70 samples of one exercise up to 21 % of equal
releases would be stopped. So an association, or a lower confidence, only counts against
a candidate on samples of several kinds: the incumbent's answers vary about as much as
in its reference profile, or they change with time."""

VARIED_SAMPLES = 192
"""Fewer samples are of enough kinds only if the answers change with time."""
CHANGING_NATS = 0.5
"""From so much information of the time about the class the answers change with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedFigures:
    """What was measured on ``n`` samples that both releases were asked.

    ``refused`` are samples beyond ``n`` that the candidate alone does not take, because
    its quality limits are tighter: that is no failure, and no answer either.
    ``candidate_failures`` are samples that only the candidate failed on,
    ``incumbent_failures`` those that only the incumbent did, a burst counted once.
    ``association`` is the value of ``statistic``, ``entropy`` (nats) how much the
    incumbent's answers vary, ``time_information`` (nats) how much of that the time
    explains, ``expected_entropy`` how much they vary in the incumbent's reference
    profile (0: not known); ``None`` where there is nothing to compute it from.
    ``confidence_drop`` is the incumbent's mean confidence minus the candidate's,
    ``latency_ratio`` the median over samples of candidate time by incumbent time.
    """

    n: int = 0
    refused: int = 0
    candidate_failures: int = 0
    incumbent_failures: int = 0
    statistic: Statistic = Statistic.NONE
    association: float | None = None
    entropy: float | None = None
    time_information: float | None = None
    expected_entropy: float = 0.0
    confidence_drop: float | None = None
    latency_ratio: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedVerdict:
    """The result, its reason in words with numbers, and for a failure its code."""

    result: Result
    reason: str
    code: str = ""


def entropy_of_counts(counts: Sequence[int]) -> float:
    """Return the entropy in nats of classes that were counted; 0 of none."""
    n = sum(counts)
    return 0.0 - sum(c / n * math.log(c / n) for c in counts if c)


def expected_entropy(reference: ReferenceProfile) -> float:
    """Return the entropy in nats of a release's class in its reference profile.

    0 where the profile has no class.
    """
    for channel, counts in zip(reference.channels, reference.data.counts, strict=True):
        if channel.source is ProfileSource.CLASS:
            return entropy_of_counts(counts)
    return 0.0


def decide_paired(
    figures: PairedFigures,
    policy: PairedPolicy,
    *,
    published_drop: float = 0.0,
    source: Source = Source.RING,
) -> PairedVerdict:
    """Judge a candidate by pairs of answers.

    Args:
        figures: What was measured.
        policy: The limits.
        published_drop: The drop of mean confidence that the release itself publishes
            (:attr:`edge_agent.wire.manifest.Bundle.published_confidence_drop`).
        source: Live pairs are looked at several times as they come (see
            :data:`LIVE_FAILURES_FROM`).
    """
    verdict = _decide(figures, policy, published_drop, source)
    if not figures.refused:
        return verdict
    asked = figures.n + figures.refused
    refuses = (
        f"refuses {figures.refused} of {asked} samples that the incumbent takes"
        " (quality limits of its input)"
    )
    if 2 * figures.refused > asked and verdict.result is Result.OK:
        return _inconclusive(refuses)
    return replace(verdict, reason=f"{verdict.reason}; {refuses}")


def _decide(
    figures: PairedFigures,
    policy: PairedPolicy,
    published_drop: float,
    source: Source,
) -> PairedVerdict:
    n = figures.n
    failed = _fails_more_often(figures, policy, source) if n else None
    if failed is None and n >= policy.min_samples:
        failed = _failed(figures, policy, published_drop)
    if failed is not None:
        return failed
    if n < policy.min_samples:
        return _inconclusive(f"{n} of {policy.min_samples} samples")
    if figures.statistic is Statistic.NONE or figures.association is None:
        return _inconclusive(
            f"{n} samples, but the incumbent's answers to them are all the same"
        )
    if figures.entropy is not None and figures.entropy < policy.entropy_min:
        return _inconclusive(
            f"{n} samples, but the incumbent's answers vary by {figures.entropy:.2f}"
            f" nats only, {policy.entropy_min:g} needed"
        )
    if _is_unrelated(figures, policy) or _is_less_confident(
        figures, policy, published_drop
    ):
        return _inconclusive(
            f"{n} samples, but of too few kinds: the incumbent's answers vary by"
            f" {figures.entropy or 0:.2f} nats, {figures.expected_entropy:.2f} in its"
            " reference profile"
        )
    return PairedVerdict(result=Result.OK, reason=_describe(figures))


def _fails_more_often(
    figures: PairedFigures, policy: PairedPolicy, source: Source
) -> PairedVerdict | None:
    """Return the failure of a candidate that fails on more samples than allowed.

    Few samples are held to the limit itself, not to their share of it, which would be
    one or two: equal releases differ by that much by chance.
    """
    n = figures.n
    excess = figures.candidate_failures - figures.incumbent_failures
    live = source is Source.LIVE
    enough = max(policy.min_samples, LIVE_FAILURES_FROM if live else 0)
    allowed = policy.failures_max * (n / FAILURES_OF if n >= enough else 1.0)
    if live:
        # The excess of equal releases has the variance of the number of failures.
        chance = math.sqrt(figures.candidate_failures + figures.incumbent_failures)
        allowed = max(allowed, LIVE_DEVIATIONS * chance)
    if excess <= allowed:
        return None
    return _fail(
        FAILURES,
        f"fails on {figures.candidate_failures} of {n} samples that the incumbent"
        f" answers, the incumbent on {figures.incumbent_failures} that it answers;"
        f" {allowed:.1f} more allowed",
    )


def _failed(
    figures: PairedFigures, policy: PairedPolicy, published_drop: float
) -> PairedVerdict | None:
    n = figures.n
    varied = _is_varied(figures)
    if varied and _is_unrelated(figures, policy):
        return _fail(
            UNRELATED,
            f"its answers to {n} samples tell next to nothing of the incumbent's:"
            f" {figures.statistic} {figures.association:.2f}, at least"
            f" {_association_min(figures, policy):g} needed",
        )
    if varied and _is_less_confident(figures, policy, published_drop):
        return _fail(
            LESS_CONFIDENT,
            f"mean confidence on {n} samples is {figures.confidence_drop:.2f} below the"
            f" incumbent's, {policy.confidence_drop_max + published_drop:.2f} allowed"
            f" ({published_drop:.2f} of it published with the release)",
        )
    ratio = figures.latency_ratio
    if ratio is not None and ratio > policy.latency_ratio_max:
        return _fail(
            SLOWER,
            f"takes {ratio:.1f} times as long as the incumbent on the same {n}"
            f" samples, {policy.latency_ratio_max:g} allowed",
        )
    return None


def _is_varied(figures: PairedFigures) -> bool:
    """Return whether the samples are of enough kinds to hold answers against it."""
    if figures.statistic is Statistic.SET_OVERLAP:
        return figures.n >= VARIED_SAMPLES
    if figures.entropy is None or not figures.expected_entropy:
        return True
    varies = figures.entropy >= VARIED_SHARE * figures.expected_entropy
    if varies and figures.n >= VARIED_SAMPLES:
        return True
    return (figures.time_information or 0.0) >= CHANGING_NATS


def _is_less_confident(
    figures: PairedFigures, policy: PairedPolicy, published_drop: float
) -> bool:
    drop = figures.confidence_drop
    return drop is not None and drop > policy.confidence_drop_max + published_drop


def _is_unrelated(figures: PairedFigures, policy: PairedPolicy) -> bool:
    if figures.association is None:
        return False
    if figures.entropy is not None and figures.entropy < policy.entropy_min:
        return False
    return figures.association < _association_min(figures, policy)


def _association_min(figures: PairedFigures, policy: PairedPolicy) -> float:
    return ASSOCIATION_MIN.get(figures.statistic, policy.association_min)


def _describe(figures: PairedFigures) -> str:
    parts = [
        f"{figures.n} samples",
        f"{figures.statistic} {figures.association:.2f}",
        f"{figures.candidate_failures} failures against {figures.incumbent_failures}",
    ]
    if figures.confidence_drop is not None:
        parts.append(f"confidence {-figures.confidence_drop:+.2f}")
    if figures.latency_ratio is not None:
        parts.append(f"latency x{figures.latency_ratio:.2f}")
    return ", ".join(parts)


def _inconclusive(reason: str) -> PairedVerdict:
    return PairedVerdict(result=Result.INCONCLUSIVE, reason=reason)


def _fail(code: str, reason: str) -> PairedVerdict:
    return PairedVerdict(result=Result.FAIL, code=code, reason=reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """Which releases were compared, on samples of which source."""

    candidate: int
    incumbent: int
    source: Source
    published_drop: float = 0.0


def summarize(
    figures: PairedFigures, verdict: PairedVerdict, pairing: Pairing
) -> PairedSummary:
    """Return what a device reports of a paired test; always within the wire's bounds.

    A figure that is not finite is left out, one beyond its bound is the bound.
    """
    return PairedSummary(
        release=pairing.candidate,
        incumbent=pairing.incumbent,
        result=verdict.result,
        source=pairing.source,
        n=figures.n,
        candidate_failures=figures.candidate_failures,
        incumbent_failures=figures.incumbent_failures,
        statistic=figures.statistic,
        association=_bounded(figures.association, -1.0, 1.0),
        entropy=_bounded(figures.entropy, 0.0, 64.0),
        confidence_drop=_bounded(figures.confidence_drop, -1.0, 1.0),
        published_drop=_bounded(pairing.published_drop, 0.0, 1.0) or 0.0,
        latency_ratio=_bounded(figures.latency_ratio, 0.0, 1e9),
        reason=verdict.reason[:1024],
    )


def _bounded(value: float | None, low: float, high: float) -> float | UnsetType:
    if value is None or not math.isfinite(value):
        return UNSET
    return min(max(value, low), high)
