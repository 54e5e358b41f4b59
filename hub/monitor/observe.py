"""From scores to observations: what a cohort's devices say together.

One drifting device is a broken device; a cohort drifts when enough of its devices do.
What is not known counts for neither side: the condition is met only by devices that
drift, and not met only when even all unknown devices could not make it so. Devices that
were not heard lately are no part of their cohort: swapped out ones would otherwise
outvote those that are there. Where none was heard, nothing is known.

Pure: called by ``hub/monitor/service.py``.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

import msgspec

from hub.alerts.evidence import (
    MAX_CHANNELS,
    MAX_DEVICES,
    AccuracyEvidence,
    DriftEvidence,
    DriftingChannel,
    DriftingDevice,
)
from hub.alerts.machine import Condition
from hub.alerts.service import Observation
from hub.config import MonitorConfig
from hub.monitor.performance import THRESHOLD, AccuracyWatch
from hub.monitor.scoring import DeviceScore, Verdict
from hub.monitor.thresholds import Thresholds

DRIFT = "drift"
ACCURACY = "accuracy"
SHOWN_CHANNELS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A device of a cohort on a release; ``score`` is ``None`` where it is unknown.

    ``heard``: whether anything came of it within ``monitor.heard_s``.
    """

    device: str
    score: DeviceScore | None
    heard: bool = True

    @property
    def verdict(self) -> Verdict:
        """The verdict on it; unknown devices have too little data."""
        return self.score.verdict if self.score else Verdict.TOO_LITTLE


def devices_needed(members: int, config: MonitorConfig) -> int:
    """Return how many devices must drift for their cohort to drift."""
    return max(config.min_devices, math.ceil(config.min_share * members))


def observe_drift(
    release: int,
    cohort: str,
    members: Sequence[Member],
    thresholds: Thresholds,
    config: MonitorConfig,
) -> Observation:
    """Judge a cohort's devices on one release, by those of them that were heard."""
    heard = [member for member in members if member.heard]
    needed = devices_needed(len(heard), config)
    verdicts = Counter(member.verdict for member in heard)
    drifting = verdicts[Verdict.DRIFTING]
    if drifting >= needed:
        evidence = _drift_evidence(heard, thresholds, needed)
        unheard = len(members) - len(heard)
        evidence = msgspec.structs.replace(evidence, unheard=unheard)
        return Observation(
            rule=DRIFT,
            release=release,
            cohort=cohort,
            condition=Condition.TRUE,
            summary=describe_drift(release, cohort, evidence, config.heard_s),
            evidence=evidence,
        )
    possible = drifting + verdicts[Verdict.TOO_LITTLE]
    unsure = not heard or possible >= needed
    condition = Condition.UNKNOWN if unsure else Condition.FALSE
    return Observation(rule=DRIFT, release=release, cohort=cohort, condition=condition)


def observe_accuracy(
    release: int, cohort: str, watch: AccuracyWatch, *, is_fresh: bool
) -> Observation:
    """Judge a cohort's labels for one release."""
    if not watch.has_fired or not is_fresh:
        known = watch.is_ready and is_fresh
        return Observation(
            rule=ACCURACY,
            release=release,
            cohort=cohort,
            condition=Condition.FALSE if known else Condition.UNKNOWN,
        )
    now = watch.accuracy
    evidence = AccuracyEvidence(
        labels=watch.labels,
        baseline_error=round(watch.p0, 4),
        accuracy=round(now.ratio, 4),
        accuracy_low=round(now.low, 4),
        accuracy_high=round(now.high, 4),
        newest_labels=len(watch.newest),
        statistic=round(watch.statistic, 3),
        threshold=round(THRESHOLD, 3),
        fired_label=watch.fired_label,
        fired_at=watch.fired_at,
    )
    summary = (
        f"accuracy in cohort {cohort} fell on release {release}: {now.ratio:.2f}"
        f" ({now.low:.2f} to {now.high:.2f}) over the newest {len(watch.newest)}"
        f" labels, {1 - watch.p0:.2f} at first"
    )
    return Observation(
        rule=ACCURACY,
        release=release,
        cohort=cohort,
        condition=Condition.TRUE,
        severity="high",
        summary=summary,
        evidence=evidence,
    )


def describe_drift(
    release: int, cohort: str, evidence: DriftEvidence, heard_s: float
) -> str:
    """Return one line: cohort, devices, top channels and their size, who was heard."""
    moved = ", ".join(
        f"{channel.name} PSI {channel.psi:.2f}"
        for channel in evidence.channels[:SHOWN_CHANNELS]
    )
    line = (
        f"drift in cohort {cohort} on release {release}:"
        f" {len(evidence.devices)} of {evidence.cohort_devices} devices, {moved}"
    )
    if evidence.confidence_change is not None:
        line += f", mean confidence {evidence.confidence_change:+.2f}"
    every = evidence.cohort_devices + evidence.unheard
    hours = f"{heard_s / 3600:g} h"
    line += f"; {evidence.cohort_devices} of {every} heard in the last {hours}"
    return line


def _drift_evidence(
    members: Sequence[Member], thresholds: Thresholds, needed: int
) -> DriftEvidence:
    drifting = [
        (member.device, member.score)
        for member in members
        if member.score is not None and member.score.verdict is Verdict.DRIFTING
    ]
    changes = [c for _, s in drifting if (c := confidence_change(s)) is not None]
    return DriftEvidence(
        cohort_devices=len(members),
        needed=needed,
        devices=[_device(name, score) for name, score in drifting[:MAX_DEVICES]],
        channels=_rank_channels([score for _, score in drifting], thresholds),
        windows=sum(score.windows for _, score in drifting),
        since_at=min(score.since_at for _, score in drifting),
        until_at=max(score.until_at for _, score in drifting),
        threshold=thresholds.joint,
        effect_min=thresholds.effect_min,
        placements=thresholds.placements,
        confidence_change=round(fmean(changes), 4) if changes else None,
    )


def confidence_change(score: DeviceScore) -> float | None:
    """Return how mean confidence changed against the device's own baseline."""
    if score.confidence_now is None or score.confidence_before is None:
        return None
    return score.confidence_now - score.confidence_before


def _device(name: str, score: DeviceScore) -> DriftingDevice:
    top = score.shifts[0]
    change = confidence_change(score)
    return DriftingDevice(
        device=name,
        statistic=round(score.statistic, 4),
        channel=top.name,
        psi=round(top.psi, 4),
        confidence_change=None if change is None else round(change, 4),
    )


def _rank_channels(
    scores: Sequence[DeviceScore], thresholds: Thresholds
) -> list[DriftingChannel]:
    """Rank channels by on how many devices they moved, then by their median PSI."""
    by_name: dict[str, list[float]] = {}
    moved: Counter[str] = Counter()
    for score in scores:
        for shift in score.shifts:
            by_name.setdefault(shift.name, []).append(shift.psi)
            moved[shift.name] += (
                shift.ratio > thresholds.joint and shift.psi >= thresholds.effect_min
            )
    channels = [
        DriftingChannel(name=name, psi=round(median(found), 4), devices=moved[name])
        for name, found in by_name.items()
        if moved[name]
    ]
    channels.sort(key=lambda channel: (-channel.devices, -channel.psi, channel.name))
    return channels[:MAX_CHANNELS]
