"""Profiles on the wire: the reference that a release carries, and one window's counts.

Channels are ordered; counts refer to channels by position. A numeric channel with
edges ``e_0 < … < e_k`` has ``k + 2`` bins: below ``e_0``, the ``k`` half-open bins
``[e_i, e_i+1)``, and from ``e_k`` up. A categorical channel has one bin a category.
"""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from edge_agent.wire.types import Count, Counts, Message, Name, Short, prepare

PROFILE_FORMAT = 1
MAX_CHANNELS = 256
MAX_CATEGORIES = 256


class Source(StrEnum):
    """Where a channel's value comes from, for one sample."""

    INPUT_MEAN = "input_mean"
    """Mean over all axes but the last, at ``index`` of the last axis."""
    INPUT_STD = "input_std"
    """Standard deviation over all axes but the last, at ``index`` of the last."""
    INPUT_LEVEL = "input_level"
    """Mean over all elements."""
    INPUT_SPREAD = "input_spread"
    """Standard deviation over all elements."""
    OUTPUT = "output"
    """Element ``index`` of the flattened output named ``tensor``."""
    OUTPUT_LEVEL = "output_level"
    """Mean over all elements of the output named ``tensor``."""
    OUTPUT_SPREAD = "output_spread"
    """Standard deviation over all elements of the output named ``tensor``."""
    CLASS = "class"
    """Index of the predicted class (categorical)."""
    CONFIDENCE = "confidence"
    """Probability of the predicted class."""


class Channel(Message, frozen=True, kw_only=True):
    """One monitored value: its name for people, its source, and its bins.

    Of an input, ``tensor`` is its name, or empty for the first.
    """

    name: Short
    source: Source
    tensor: Short = ""
    index: Count = 0
    edges: Annotated[list[float], Meta(max_length=254)] = []
    categories: Annotated[list[Short], Meta(max_length=MAX_CATEGORIES)] = []

    @property
    def bins(self) -> int:
        """How many counts this channel has."""
        return len(self.categories) or len(self.edges) + 1


class ChannelMoments(Message, frozen=True, kw_only=True):
    """Count, mean, sum of squared deviations, minimum and maximum of a channel."""

    n: Count
    mean: float
    m2: float
    low: float
    high: float


class ProfileData(Message, frozen=True, kw_only=True):
    """The mergeable content of one window.

    Shapes: ``counts`` is channels x bins, ``moments`` one entry a channel,
    ``latency`` maps a log bin (see :mod:`edge_agent.sketch.latency`) to its count.
    ``rejected`` counts samples that failed a quality check, by reason; these are in
    no other figure.
    """

    rows: Count
    counts: Annotated[list[Counts], Meta(max_length=MAX_CHANNELS)]
    moments: Annotated[list[ChannelMoments], Meta(max_length=MAX_CHANNELS)] = []
    latency: dict[str, Count] = {}
    rejected: dict[Short, Count] = {}


class ReferenceProfile(Message, frozen=True, kw_only=True):
    """What training data looks like to the released model on the device's runtime.

    ``data.rows`` is part of the evidence: a small reference makes weak claims.
    """

    format: int = PROFILE_FORMAT
    model: Name
    channels: Annotated[list[Channel], Meta(max_length=MAX_CHANNELS)]
    data: ProfileData


prepare(ReferenceProfile)
