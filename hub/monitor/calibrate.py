"""Calibrates a release's drift thresholds on held-out data, before it is published.

Held-out streams are clean by definition. Each is cut, in many contiguous placements,
into an earlier baseline and a later recent block, just as the hub later compares a
device with its own past; what such pairs differ by is what no alarm may rest on.
Contiguous blocks keep the dependence between neighbouring windows, and the joint
statistic keeps that between channels: no independence is assumed anywhere.

Pure: called by the release service with the bundle's ``calibration.npz``.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from edge_agent.sketch.bins import bin_values
from edge_agent.sketch.distance import psi
from edge_agent.wire.profile import Channel, ReferenceProfile
from hub.monitor.thresholds import EFFECT_MIN, Thresholds

Values = NDArray[np.float64]

TARGET_RATIO = 0.01
"""Share of clean pairs that may reach the threshold before the margin."""
MARGIN_MIN, MARGIN_MAX = 1.25, 2.0
MARGIN_SPREAD = 4 / 3
"""The margin is ``1 + MARGIN_SPREAD / sqrt(k)`` for ``k`` pairs that fit side by side.

Placements overlap, so a threshold from many of them may still rest on few independent
rows. On AR(1) streams (memory 0.8, k = 7) this margin of 1.5 brought clean devices
called drifting from 2.8 % at 1.25 to 0.8 %.
"""
SCALE_QUANTILE = 0.9
SCALE_FLOOR = 0.05
"""A channel that hardly ever moved by chance must not alarm at a breath."""
MIN_BLOCK_ROWS = 30
ROOM = 0.8
"""Share of a short stream that one pair may take, so that several pairs fit."""
STARTS = 8

_RULE_OF_THUMB_SCALE = 0.1
_RULE_OF_THUMB_JOINT = 2.5


def calibrate(
    reference: ReferenceProfile,
    values: Values,
    groups: Sequence[str] | NDArray[np.str_],
    *,
    baseline_rows: int,
    recent_rows: int,
) -> Thresholds:
    """Return the thresholds for one release.

    Args:
        reference: The release's reference profile; its channels give the bins.
        values: Channel values of clean streams, shape ``(n, channels)``.
        groups: Which stream a row belongs to, shape ``(n,)``; the rows of a stream
            are in its order.
        baseline_rows: Rows of a device's baseline.
        recent_rows: Rows that are compared with it.

    Raises:
        ValueError: The shapes do not fit each other or the reference.
    """
    channels = reference.channels
    if values.ndim != 2 or values.shape != (len(groups), len(channels)):  # noqa: PLR2004
        raise ValueError(
            f"calibration values {values.shape} do not fit {len(groups)} rows"
            f" of {len(channels)} channels"
        )
    names = np.asarray(groups)
    found: list[list[float]] = []
    used, shrunk, side_by_side = 0, 1.0, 0.0
    for name in dict.fromkeys(names.tolist()):
        stream = values[names == name]
        share = min(1.0, ROOM * len(stream) / (baseline_rows + recent_rows))
        sizes = (int(baseline_rows * share), int(recent_rows * share))
        if min(sizes) < MIN_BLOCK_ROWS:
            continue
        found += _clean_pairs(channels, stream, sizes)
        used, shrunk = used + 1, min(shrunk, share)
        side_by_side += len(stream) / sum(sizes)
    if not found:
        return _uncalibrated(len(channels), baseline_rows, recent_rows)
    null = np.asarray(found)
    scales = np.maximum(np.quantile(null, SCALE_QUANTILE, axis=0), SCALE_FLOOR)
    joint = (null / scales).max(axis=1)
    margin = _margin(side_by_side)
    limit = margin * float(np.quantile(joint, 1 - TARGET_RATIO, method="higher"))
    return Thresholds(
        scales=[round(float(scale), 6) for scale in scales],
        joint=round(max(limit, 1.0), 6),
        baseline_rows=baseline_rows,
        recent_rows=recent_rows,
        placements=len(null),
        groups=used,
        shrunk=round(shrunk, 4),
        target=(
            f"at most {TARGET_RATIO:.0%} of {len(null)} clean pairs of blocks"
            f" from {used} held-out streams, with a margin of {margin:.2f}"
        ),
    )


def _margin(side_by_side: float) -> float:
    margin = 1 + MARGIN_SPREAD / math.sqrt(side_by_side)
    return min(max(margin, MARGIN_MIN), MARGIN_MAX)


def _clean_pairs(
    channels: Sequence[Channel], stream: Values, sizes: tuple[int, int]
) -> Iterator[list[float]]:
    """Yield the PSI of each channel for pairs of blocks of one clean stream."""
    baseline_rows, recent_rows = sizes
    room = len(stream) - recent_rows
    for start in _starts(0, room - baseline_rows):
        end = start + baseline_rows
        baseline = _counts(channels, stream[start:end])
        for later in _starts(end, room):
            recent = _counts(channels, stream[later : later + recent_rows])
            yield [psi(a, b) for a, b in zip(recent, baseline, strict=True)]


def _starts(first: int, last: int) -> list[int]:
    """Return up to :data:`STARTS` evenly spread places in ``first..last``."""
    return sorted({round(place) for place in np.linspace(first, last, STARTS)})


def _counts(channels: Sequence[Channel], block: Values) -> list[NDArray[np.int64]]:
    return [
        bin_values(channel, block[:, place]) for place, channel in enumerate(channels)
    ]


def _uncalibrated(channels: int, baseline_rows: int, recent_rows: int) -> Thresholds:
    """Fall back to the usual rule (PSI 0.25 is a shift) and say so."""
    return Thresholds(
        scales=[_RULE_OF_THUMB_SCALE] * channels,
        joint=_RULE_OF_THUMB_JOINT,
        effect_min=EFFECT_MIN,
        baseline_rows=baseline_rows,
        recent_rows=recent_rows,
        target="not calibrated: too little held-out data; PSI 0.25 by rule of thumb",
    )
