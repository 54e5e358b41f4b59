"""The verdict: may this candidate become a release? Pure; called by the job.

A first model must be right often enough on each segment it was trained for. A
retrained model must be worth the rollout: better by five points in the mean over all
segments, and on no segment that the incumbent served well worse by more than three
points beyond what chance explains. Windows overlap, so they count for fewer
independent ones than there are.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from edge_agent.wire.manifest import GateCheck, GateReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How many of ``n`` samples were classified correctly."""

    n: int
    correct: int

    @property
    def accuracy(self) -> float:
        """Share of correct ones; 0 without samples."""
        return self.correct / self.n if self.n else 0.0

    def plus(self, other: "Score") -> "Score":
        """Return both together."""
        return Score(n=self.n + other.n, correct=self.correct + other.correct)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the gate asks for; accuracies as shares, latency in microseconds."""

    accuracy_floor: float = 0.5
    gain_min: float = 0.05
    loss_max: float = 0.03
    agreement_min: float = 0.95
    latency_us: float = 50_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What was measured on held-out people, by segment.

    ``agreement`` is of the candidate's file with its float variant (None: it is that).
    ``overlap`` is how
    many windows share a row of a stream: ``n / overlap`` are independent.
    """

    candidate: Mapping[str, Score]
    incumbent: Mapping[str, Score] | None = None
    incumbent_release: int = 0
    agreement: float | None = None
    latency_us: float = 0.0
    overlap: float = 1.0


def judge(evidence: Evidence, limits: Limits) -> GateReport:
    """Compare the candidate with its limits and, if there is one, the incumbent."""
    if evidence.incumbent is None:
        checks = list(_first(evidence.candidate, limits))
    else:
        checks = list(_against(evidence, evidence.incumbent, limits))
    checks += _file_checks(evidence, limits)
    return GateReport(
        ok=all(check.ok for check in checks),
        checks=checks,
        incumbent=evidence.incumbent_release,
    )


def _file_checks(evidence: Evidence, limits: Limits) -> Iterator[GateCheck]:
    if evidence.agreement is not None:
        yield GateCheck(
            name="agreement",
            ok=evidence.agreement >= limits.agreement_min,
            observed=round(evidence.agreement, 4),
            limit=limits.agreement_min,
            n=sum(score.n for score in evidence.candidate.values()),
            detail="same class as the float variant",
        )
    yield GateCheck(
        name="latency_us",
        ok=evidence.latency_us <= limits.latency_us,
        observed=evidence.latency_us,
        limit=limits.latency_us,
        detail="median on the device's runtime, on this machine",
    )


def _first(candidate: Mapping[str, Score], limits: Limits) -> Iterator[GateCheck]:
    for segment, score in candidate.items():
        yield GateCheck(
            name=f"accuracy.{segment}",
            ok=score.n > 0 and score.accuracy >= limits.accuracy_floor,
            observed=round(score.accuracy, 4),
            limit=limits.accuracy_floor,
            n=score.n,
            detail="share of correct windows of people never trained on",
        )


def _against(
    evidence: Evidence, incumbent: Mapping[str, Score], limits: Limits
) -> Iterator[GateCheck]:
    gain = _mean(evidence.candidate) - _mean(incumbent)
    yield GateCheck(
        name="gain",
        ok=gain >= limits.gain_min,
        observed=round(gain, 4),
        limit=limits.gain_min,
        n=sum(score.n for score in evidence.candidate.values()),
        detail="mean accuracy over segments, candidate minus incumbent",
    )
    for segment, before in incumbent.items():
        if before.accuracy < limits.accuracy_floor:
            continue
        after = evidence.candidate[segment]
        error = _error(before, after, evidence.overlap)
        limit = before.accuracy - limits.loss_max - error
        yield GateCheck(
            name=f"keeps.{segment}",
            ok=after.accuracy >= limit,
            observed=round(after.accuracy, 4),
            limit=round(limit, 4),
            n=after.n,
            detail=f"incumbent {before.accuracy:.3f}, standard error {error:.3f}",
        )


def _mean(scores: Mapping[str, Score]) -> float:
    return sum(s.accuracy for s in scores.values()) / len(scores) if scores else 0.0


def _error(a: Score, b: Score, overlap: float) -> float:
    variance = 0.0
    for score in (a, b):
        independent = max(1.0, score.n / overlap)
        variance += score.accuracy * (1 - score.accuracy) / independent
    return math.sqrt(variance)
