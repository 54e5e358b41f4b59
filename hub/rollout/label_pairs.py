"""Accuracy of two releases by labels of the same samples, with the device as the unit.

Each device gives a series ``d`` in event order: +1 where only the incumbent was right,
-1 where only the candidate was, 0 otherwise; its mean is the loss of accuracy. Samples
of one stream are right or wrong together, so the error of a device's mean comes from
the means of blocks of twice the integrated autocorrelation time (initial positive
sequence: Geyer, 1992). Over devices a one-sided Student bound holds. Its standard error
is the larger of what devices differ by and what the blocks within them explain: four
devices that agree by chance are not certain. Pure.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MIN_DEVICES = 4
MIN_LABELS = 100
"""Labels of one device below which its autocorrelation time cannot be told."""
_MIN_BLOCKS = 2
_MIN_CELL = 3
"""Fewer incumbent labels than this say nothing about a device and label."""
_Z = 1.6448536269514722
"""One-sided 95 %."""
_Z_ABORT = 2.3263478740408408
"""One-sided 99 %: the gate looks again with every label, and an abort is final."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelCell:
    """Labelled predictions of one device for one true label, by both releases."""

    device: str
    label: str
    candidate_n: int
    candidate_correct: int
    incumbent_n: int
    incumbent_correct: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceLoss:
    """What one device's labels say: mean loss (ratio) and its standard error.

    ``paired``: both releases answered the same ``n`` samples; otherwise the labels are
    of different samples, ``n`` the candidate's, and ``blocks`` is ``n``.
    """

    device: str
    n: int
    blocks: int
    loss: float
    error: float
    tau: float = 1.0
    paired: bool = True

    @property
    def decides(self) -> bool:
        """Whether there is enough of it."""
        return self.n >= MIN_LABELS and self.blocks >= _MIN_BLOCKS


@dataclass(frozen=True, slots=True, kw_only=True)
class LossBounds:
    """Mean loss over devices with one-sided bounds (ratios).

    ``upper`` (95 %) is of losses whose gains are clipped, ``lower`` (99 %) of losses as
    they are.
    """

    devices: int = 0
    labels: int = 0
    paired: bool = True
    loss: float = 0.0
    lower: float = -1.0
    upper: float = 1.0

    @property
    def text(self) -> str:
        """Say it in points."""
        kind = "pairs" if self.paired else "labels"
        return (
            f"loss of accuracy {100 * self.loss:+.1f} points, at least"
            f" {100 * self.lower:+.1f} (99 %), at most {100 * self.upper:+.1f} (95 %)"
            f" ({self.labels} labelled {kind} on {self.devices} devices)"
        )


def measure_loss(device: str, series: Sequence[int]) -> DeviceLoss:
    """Return the loss of one device from its series in event order.

    Args:
        device: Its id.
        series: -1, 0 or +1 a labelled pair: incumbent correct minus candidate correct.
    """
    values = np.asarray(series, dtype=np.float64)
    n = len(values)
    tau = autocorrelation_time(values)
    length = max(1, math.ceil(2 * tau))
    blocks = n // length
    error = 0.0
    if blocks >= _MIN_BLOCKS:
        means = values[n - blocks * length :].reshape(blocks, length).mean(axis=1)
        error = float(means.std(ddof=1)) / math.sqrt(blocks)
    return DeviceLoss(
        device=device,
        n=n,
        blocks=blocks,
        loss=float(values.mean()) if n else 0.0,
        error=error,
        tau=tau,
    )


def autocorrelation_time(values: np.ndarray) -> float:
    """Return the integrated autocorrelation time, in samples, at least 1.

    ``1 + 2 * sum of autocorrelations``, summed in pairs of neighbouring lags for as
    long as a pair is positive (Geyer, 1992), and no further than half the series.

    Args:
        values: One series, shape ``(n,)``, float64.
    """
    n = len(values)
    centred = values - values.mean() if n else values
    variance = float(centred @ centred)
    if variance <= 0.0:
        return 1.0
    total = -1.0
    for lag in range(0, n // 2, 2):
        pair = sum(
            float(centred[: n - k] @ centred[k:]) / variance for k in (lag, lag + 1)
        )
        if pair <= 0.0:
            break
        total += 2.0 * pair
    return max(1.0, total)


def measure_cells(cells: Sequence[LabelCell]) -> list[DeviceLoss]:
    """Return the losses of devices without pairs, from labels of different samples.

    The incumbent's accuracy is weighted as the candidate's labels are, so that a device
    that happens to see other movements now is no evidence against a release.
    """
    by_device: dict[str, list[LabelCell]] = {}
    for cell in cells:
        if cell.candidate_n >= 1 and cell.incumbent_n >= _MIN_CELL:
            by_device.setdefault(cell.device, []).append(cell)
    return [_of_cells(device, used) for device, used in by_device.items()]


def bound_loss(losses: Sequence[DeviceLoss], gain_max: float) -> LossBounds | None:
    """Return the bounds over devices, or ``None`` where too few devices tell.

    Args:
        losses: One a device.
        gain_max: For the upper bound no device gains more than this (a ratio). A
            release that repairs drift on half a fleet gains 45 points there; that
            spread would look like uncertainty about a loss. Clipping can only raise
            the bound's mean, so it never hides a loss.
    """
    used = [one for one in losses if one.decides]
    if len(used) < MIN_DEVICES:
        return None
    degrees = len(used) - 1
    t, t_abort = student_quantile(degrees), student_quantile(degrees, _Z_ABORT)
    plain = [one.loss for one in used]
    errors = [one.error for one in used]
    clipped = [max(one.loss, -gain_max) for one in used]
    # A device whose own upper bound is a clipped gain leaves nothing uncertain.
    bounds = [max(one.loss + _Z * one.error, -gain_max) for one in used]
    unsure = [(bound - loss) / _Z for bound, loss in zip(bounds, clipped, strict=True)]
    return LossBounds(
        devices=len(used),
        labels=sum(one.n for one in used),
        paired=all(one.paired for one in used),
        loss=statistics.fmean(plain),
        lower=statistics.fmean(plain) - t_abort * _standard_error(plain, errors),
        upper=statistics.fmean(clipped) + t * _standard_error(clipped, unsure),
    )


def student_quantile(degrees: int, z: float = _Z) -> float:
    """Return the quantile of Student's t that ``z`` is of the normal distribution.

    To 0.3 % at 95 %, and to 2 % at 99 %, from 3 degrees of freedom. Expansion in powers
    of 1/degrees (Abramowitz and Stegun, 26.7.5).
    """
    v = float(degrees)
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z)
        / (92160 * v**4)
    )


def _standard_error(means: list[float], errors: list[float]) -> float:
    between = statistics.stdev(means) / math.sqrt(len(means))
    within = math.sqrt(math.fsum(error**2 for error in errors)) / len(means)
    return max(between, within)


def _of_cells(device: str, cells: list[LabelCell]) -> DeviceLoss:
    n = sum(cell.candidate_n for cell in cells)
    candidate = sum(cell.candidate_correct for cell in cells) / n
    incumbent = 0.0
    variance = candidate * (1 - candidate) / n
    for cell in cells:
        weight = cell.candidate_n / n
        # Laplace's rule keeps a cell of few labels from claiming certainty.
        ratio = (cell.incumbent_correct + 1) / (cell.incumbent_n + 2)
        incumbent += weight * cell.incumbent_correct / cell.incumbent_n
        variance += weight**2 * ratio * (1 - ratio) / cell.incumbent_n
    return DeviceLoss(
        device=device,
        n=n,
        blocks=n,
        loss=incumbent - candidate,
        error=math.sqrt(variance),
        paired=False,
    )
