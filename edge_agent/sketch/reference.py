"""Building a reference profile: bin edges from quantiles, then counts on them."""

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_agent.sketch.profile import WindowProfile
from edge_agent.wire.profile import Channel, ReferenceProfile

BINS = 8


def with_edges(channel: Channel, values: NDArray[np.float64], bins: int) -> Channel:
    """Return the channel with inner quantile edges of ``values``, shape ``(n,)``.

    ``bins - 1`` edges make ``bins`` bins of equal share; ties make fewer. Edges are
    rounded to six significant digits so that they read the same everywhere.
    """
    if channel.categories:
        return channel
    inner = np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1])
    edges = sorted({float(f"{edge:.6g}") for edge in inner})
    return msgspec.structs.replace(channel, edges=edges)


def build_reference(
    model: str,
    channels: Sequence[Channel],
    values: NDArray[np.float64],
    *,
    bins: int = BINS,
) -> ReferenceProfile:
    """Build the reference of a model from channel values, shape ``(n, channels)``.

    Channels that never vary carry no evidence and are dropped.
    """
    kept = [
        (with_edges(channel, values[:, place], bins), place)
        for place, channel in enumerate(channels)
        if channel.categories or np.ptp(values[:, place]) > 0
    ]
    profile = WindowProfile([channel for channel, _ in kept])
    profile.add_rows(values[:, [place for _, place in kept]])
    return ReferenceProfile(
        model=model,
        channels=[channel for channel, _ in kept],
        data=profile.to_wire(),
    )
