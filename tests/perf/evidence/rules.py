"""The rules that are compared: the paired one, the one it replaced, class histograms.

All see the same two releases on the same device. The paired rule is the product's own
(:mod:`edge_agent.evidence`); the two others are kept here as peers only.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_agent.evidence.judge import (
    PairedFigures,
    PairedVerdict,
    decide_paired,
    entropy_of_counts,
)
from edge_agent.evidence.statistics import Answer, Pair, measure
from edge_agent.sketch.variation import total_variation
from edge_agent.wire.control import PairedPolicy

POLICY = PairedPolicy()
LIVE = 60
"""Predictions after which the rule as it was decided (its default)."""
BASELINE = 256
"""Predictions before the swap that it compared with."""
CLASS_SHIFT_MAX = 0.5
CLEARLY = 0.1
ERROR_RATIO_MAX = 0.02
CONFIDENCE_DROP_MAX = 0.3
HISTOGRAM_MAX = 0.3
"""Total variation of two histograms of predicted classes that the third rule allows."""

Doubles = NDArray[np.float64]
Places = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What one release answered to ``n`` samples: class, confidence, failed or not."""

    index: Places
    confidence: Doubles
    failed: Flags

    def at(self, places: Places | slice) -> "Answers":
        """Return the answers to some of the samples."""
        return Answers(
            index=self.index[places],
            confidence=self.confidence[places],
            failed=self.failed[places],
        )

    def counts(self, classes: int) -> list[int]:
        """Return how often each class was answered."""
        counts = np.bincount(self.index[~self.failed], minlength=classes)
        return [int(count) for count in counts]

    def failing(self, failed: Flags) -> "Answers":
        """Return the same answers, with these samples failed on."""
        return replace(self, failed=failed)


def of_probabilities(probabilities: Doubles) -> Answers:
    """Return the answers of class probabilities ``(n, classes)``."""
    return Answers(
        index=probabilities.argmax(axis=1),
        confidence=probabilities.max(axis=1),
        failed=np.zeros(len(probabilities), bool),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a bundle says of its release: how often each class is predicted on held-out
    samples, and the mean confidence there.
    """  # noqa: D205 - the summary is one sentence

    counts: list[int]
    confidence: float


def judge_pairs(
    incumbent: Answers,
    candidate: Answers,
    numbers: Places,
    profiles: tuple[Profile, Profile],
) -> tuple[PairedFigures, PairedVerdict]:
    """Judge a candidate as a device does; return the figures and the verdict.

    ``numbers`` are the samples' places in the stream, ``profiles`` those of the
    incumbent and of the candidate, which publishes by how much it is less confident.
    """
    pairs = [
        Pair(number=number, incumbent=one, candidate=other)
        for number, one, other in zip(
            numbers.tolist(), _listed(incumbent), _listed(candidate), strict=True
        )
    ]
    one, other = profiles
    figures = measure(pairs, expected_entropy=entropy_of_counts(one.counts))
    published = max(one.confidence - other.confidence, 0.0)
    return figures, decide_paired(figures, POLICY, published_drop=published)


def breaches_old_rule(
    before: Answers, now: Answers, reference: list[int], latency_ratio: float = 1.0
) -> str:
    """Return what the rule as it was rolls a release back for; empty: nothing.

    ``before`` are the incumbent's latest answers, ``now`` the candidate's first, of
    other moments; ``reference`` counts the classes of the candidate's own profile.
    """
    if not len(before.failed):
        return ""
    if now.failed.mean() > ERROR_RATIO_MAX + before.failed.mean():
        return "errors"
    classes = len(reference)
    shift = total_variation(now.counts(classes), reference)
    usual = total_variation(before.counts(classes), reference)
    if shift > CLASS_SHIFT_MAX and shift > usual + CLEARLY:
        return "classes"
    if latency_ratio > 3.0:
        return "latency"
    drop = _confidence(before) - _confidence(now)
    return "confidence" if drop > CONFIDENCE_DROP_MAX else ""


def breaches_histogram_rule(before: Answers, now: Answers, classes: int) -> bool:
    """Return whether the classes answered before and after differ by too much."""
    found = total_variation(now.counts(classes), before.counts(classes))
    return found > HISTOGRAM_MAX


def _confidence(answers: Answers) -> float:
    answered = answers.confidence[~answers.failed]
    return float(answered.mean()) if len(answered) else 0.0


def _listed(answers: Answers) -> list[Answer | None]:
    return [
        None if failed else Answer(index=index, confidence=confidence)
        for index, confidence, failed in zip(
            answers.index.tolist(),
            answers.confidence.tolist(),
            answers.failed.tolist(),
            strict=True,
        )
    ]
