"""What shadows say of a candidate: pairs of answers on the same samples. Pure.

Each device compared candidate and incumbent on its own samples before it activated the
candidate, and reports one summary. The unit of evidence is the device: the mean over
devices counts, and its spread is that between devices, however many pairs one has.
Disagreement is no fault by itself (a release that repairs drift disagrees), so the
limit is the operator's. Called by :mod:`hub.rollout.gates.shadow`.
"""

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from msgspec import UNSET

from edge_agent.wire.records import PairedSummary, ShadowSummary

_Z = 1.645
"""One-sided 95 %."""
_MIN_DEVICES = 3
"""Fewer devices than this have no spread worth the name: they hold, never abort."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Means over ``devices``, and the standard error of the disagreement."""

    devices: int = 0
    pairs: int = 0
    disagreement: float = 0.0
    error: float = 0.0
    confidence_shift: float = 0.0
    latency_ratio: float = 0.0

    @property
    def text(self) -> str:
        """Say what the pairs say."""
        return (
            f"{self.disagreement:.0%} of {self.pairs} shadow pairs on {self.devices}"
            f" devices disagree, latency x{self.latency_ratio:.2g}"
        )

    def exceeds(self, limit: float) -> bool:
        """Tell whether the disagreement is above the limit, as far as is known."""
        return self.devices > 0 and self.disagreement > limit

    def surely_exceeds(self, limit: float) -> bool:
        """Tell whether it is above the limit beyond what devices differ by."""
        enough = self.devices >= _MIN_DEVICES
        return enough and self.disagreement - _Z * self.error > limit


def score_pairs(summaries: Iterable[ShadowSummary]) -> Agreement:
    """Pool the summaries of devices; those without a pair say nothing."""
    used = [summary for summary in summaries if summary.n]
    if not used:
        return Agreement()
    ratios = [summary.disagreement_ratio for summary in used]
    spread = statistics.stdev(ratios) if len(ratios) > 1 else 0.0
    return Agreement(
        devices=len(used),
        pairs=sum(summary.n for summary in used),
        disagreement=statistics.fmean(ratios),
        error=spread / math.sqrt(len(ratios)),
        confidence_shift=statistics.fmean(s.confidence_shift for s in used),
        latency_ratio=statistics.median(s.latency_ratio for s in used),
    )


def describe_paired(summaries: Iterable[PairedSummary]) -> str:
    """Say what paired tests found, as medians over devices; "" without any."""
    used = [summary for summary in summaries if summary.n]
    if not used:
        return ""
    parts = [f"{statistics.median(one.n for one in used):.0f} samples"]
    if figures := [one.association for one in used if one.association is not UNSET]:
        parts.append(f"{used[0].statistic} {statistics.median(figures):.2f}")
    drops = [one.confidence_drop for one in used if one.confidence_drop is not UNSET]
    if drops:
        parts.append(f"confidence {-statistics.median(drops):+.2f}")
    if ratios := [one.latency_ratio for one in used if one.latency_ratio is not UNSET]:
        parts.append(f"latency x{statistics.median(ratios):.2f}")
    return f"paired tests of {len(used)} devices, medians: {', '.join(parts)}"
