"""Scores one device: has what it sees moved away from its own past?

A device is compared with itself (its first windows under a release), because devices
differ for good reasons: in a fleet with ordinary offsets, comparing with the others
raised dozens of false alarms where the own past raised half a one. Windows of another
release or another reference profile are never mixed in; the caller keeps one history
for each. Pure: called by ``hub/monitor/service.py``.
"""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from edge_agent.sketch.distance import psi
from edge_agent.sketch.profile import merge_counts
from edge_agent.wire.bounds import profile_fault
from edge_agent.wire.profile import Channel, ProfileData, Source
from hub.monitor.thresholds import Thresholds

ROUNDING = 1e-3
"""How far a mean of ratios may be outside 0 to 1: 16-bit models round."""


class Verdict(StrEnum):
    """What can be said of a device."""

    DRIFTING = "drifting"
    CLEAN = "clean"
    TOO_LITTLE = "not enough data"


class Position(NamedTuple):
    """Place of a window in a device's life: which start of it, and its number there.

    Wall clocks of devices jump; starts and sequence numbers do not.
    """

    start: int
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One window of a device under one release and reference."""

    position: Position
    start_at: float
    end_at: float
    data: ProfileData

    @property
    def is_clean(self) -> bool:
        """Whether most of its samples passed the quality checks."""
        return self.data.rows >= sum(self.data.rejected.values())


@dataclass(slots=True, kw_only=True)
class History:
    """The windows of a device that matter: its baseline, and the newest after it.

    Holds no more than the rows it was asked for, whatever comes.
    """

    baseline_rows: int
    recent_rows: int
    baseline: list[Window] = field(default_factory=list)
    recent: list[Window] = field(default_factory=list)

    def add(self, window: Window) -> bool:
        """Add a window, in whatever order it comes.

        Returns:
            Whether it can change the score: a window without rows, or one older than
            everything that is kept, does not.
        """
        if not window.data.rows:
            return False
        if rows_of(self.baseline) < self.baseline_rows:
            return self._add_to_baseline(window)
        if window.position < self.baseline[-1].position:
            return False
        _insert(self.recent, window)
        while rows_of(self.recent[1:]) >= self.recent_rows:
            self.recent.pop(0)
        return True

    def _add_to_baseline(self, window: Window) -> bool:
        if window.is_clean:
            _insert(self.baseline, window)
        return window.is_clean


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelShift:
    """How far one channel moved, as PSI and relative to what chance does."""

    name: str
    psi: float
    ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceScore:
    """The verdict on one device and all that it rests on.

    ``shifts`` is ranked, largest ratio first. ``confidence_before`` and ``_now`` are
    mean confidences (``None`` where there is no such channel): their fall is an
    estimate of lost accuracy that needs no labels, and proves nothing alone.
    """

    verdict: Verdict
    statistic: float = 0.0
    shifts: tuple[ChannelShift, ...] = ()
    baseline_rows: int = 0
    recent_rows: int = 0
    windows: int = 0
    since_at: float = 0.0
    until_at: float = 0.0
    confidence_before: float | None = None
    confidence_now: float | None = None


def rows_of(windows: Sequence[Window]) -> int:
    """Return how many rows windows hold together."""
    return sum(window.data.rows for window in windows)


def misfit(channels: Sequence[Channel], data: ProfileData) -> str:
    """Return why a window cannot be one of these channels, or nothing."""
    if [len(counts) for counts in data.counts] != [one.bins for one in channels]:
        return "its bins are not those of the release's reference profile"
    if data.moments and len(data.moments) != len(channels):
        return f"{len(data.moments)} moments for {len(channels)} channels"
    if fault := profile_fault(data):
        return fault
    for channel, moments in zip(channels, data.moments, strict=False):
        is_ratio = channel.source is Source.CONFIDENCE
        if is_ratio and not -ROUNDING <= moments.mean <= 1 + ROUNDING:
            return f"its mean confidence is {moments.mean:g}"
    return ""


def score_device(
    channels: Sequence[Channel], thresholds: Thresholds, history: History
) -> DeviceScore:
    """Compare a device's newest windows with its baseline.

    Drifting takes a statistic above the calibrated threshold *and* a channel above
    the practical minimum effect.
    """
    baseline, recent = history.baseline, history.recent
    if (
        not channels  # Nothing is watched: that is no sign of health.
        or rows_of(baseline) < history.baseline_rows
        or rows_of(recent) < history.recent_rows
    ):
        return DeviceScore(
            verdict=Verdict.TOO_LITTLE,
            baseline_rows=rows_of(baseline),
            recent_rows=rows_of(recent),
            windows=len(baseline) + len(recent),
        )
    shifts = _rank_shifts(channels, thresholds, baseline, recent)
    statistic = shifts[0].ratio if shifts else 0.0
    drifting = any(
        shift.ratio > thresholds.joint and shift.psi >= thresholds.effect_min
        for shift in shifts
    )
    return DeviceScore(
        verdict=Verdict.DRIFTING if drifting else Verdict.CLEAN,
        statistic=statistic,
        shifts=tuple(shifts),
        baseline_rows=rows_of(baseline),
        recent_rows=rows_of(recent),
        windows=len(baseline) + len(recent),
        since_at=recent[0].start_at,
        until_at=recent[-1].end_at,
        confidence_before=_mean_confidence(channels, baseline),
        confidence_now=_mean_confidence(channels, recent),
    )


def _rank_shifts(
    channels: Sequence[Channel],
    thresholds: Thresholds,
    baseline: Sequence[Window],
    recent: Sequence[Window],
) -> list[ChannelShift]:
    before = merge_counts(window.data for window in baseline)
    now = merge_counts(window.data for window in recent)
    shifts = [
        ChannelShift(name=channel.name, psi=value, ratio=value / scale)
        for channel, scale, value in zip(
            channels,
            thresholds.scales,
            (psi(a, b) for a, b in zip(now, before, strict=True)),
            strict=True,
        )
    ]
    return sorted(shifts, key=lambda shift: shift.ratio, reverse=True)


def _mean_confidence(
    channels: Sequence[Channel], windows: Sequence[Window]
) -> float | None:
    places = [i for i, c in enumerate(channels) if c.source is Source.CONFIDENCE]
    if not places:
        return None
    moments = [w.data.moments[places[0]] for w in windows if w.data.moments]
    n = sum(m.n for m in moments)
    return sum(m.mean * m.n for m in moments) / n if n else None


def _insert(windows: list[Window], window: Window) -> None:
    bisect.insort(windows, window, key=lambda w: w.position)
