"""Drift thresholds of one release, as calibrated and stored with it."""

from typing import Annotated

from msgspec import Meta

from edge_agent.wire.profile import MAX_CHANNELS
from edge_agent.wire.types import Count, Message, Ratio, Text, prepare

EFFECT_MIN = 0.2
"""PSI below which a shift is too small to matter, however sure it is."""


class Thresholds(Message, frozen=True, kw_only=True):
    """When a device counts as drifting, and what that rests on.

    The statistic of a device is ``max_c psi_c / scales[c]`` over the channels in the
    order of the reference. ``placements`` is how many pairs of clean blocks it was
    calibrated on (0: not calibrated, the rule of thumb holds), from ``groups``
    streams; ``shrunk`` is the smallest share of the configured block sizes that had
    to do (1: the full sizes).
    """

    scales: Annotated[list[float], Meta(max_length=MAX_CHANNELS)]
    joint: float
    effect_min: float = EFFECT_MIN
    baseline_rows: Count
    recent_rows: Count
    placements: Count = 0
    groups: Count = 0
    shrunk: Ratio = 1.0
    target: Text = ""


prepare(Thresholds)
