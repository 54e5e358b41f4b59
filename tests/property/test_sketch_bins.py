"""Counting many channels at once is counting each of them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.sketch.bins import FEW_EDGES, Binner, bin_values
from edge_agent.sketch.profile import WindowProfile
from edge_agent.wire.profile import Channel, Source

numbers = st.floats(-100, 100, width=32)
edges = st.lists(numbers, max_size=FEW_EDGES + 4, unique=True).map(sorted)


@st.composite
def channels(draw: st.DrawFn) -> Channel:
    """Draw a numeric channel with few or many edges, or a categorical one."""
    if draw(st.booleans()):
        return Channel(name="x", source=Source.OUTPUT, tensor="x", edges=draw(edges))
    names = [f"c{place}" for place in range(draw(st.integers(1, 5)))]
    return Channel(name="class", source=Source.CLASS, categories=names)


@given(st.lists(channels(), max_size=6), st.integers(0, 2**32 - 1), st.integers(0, 90))
def test_all_channels_at_once_are_each_by_itself(
    watched: list[Channel], seed: int, rows: int
) -> None:
    """Edges themselves, values between and beyond, and unknown categories."""
    rng = np.random.default_rng(seed)
    values = rng.uniform(-120, 120, (rows, len(watched)))
    for place, channel in enumerate(watched):
        if channel.categories:
            values[:, place] = rng.integers(0, 8, rows)
        elif channel.edges and rows:
            values[::2, place] = rng.choice(channel.edges, len(values[::2]))
    binner = Binner(watched)
    counts = binner.split(binner.count(values))
    for place, channel in enumerate(watched):
        np.testing.assert_array_equal(
            counts[place], bin_values(channel, values[:, place])
        )
    assert len(counts) == len(watched)


@given(st.lists(channels(), max_size=4), st.integers(0, 2**32 - 1), st.integers(0, 150))
def test_rows_one_by_one_are_rows_at_once(
    watched: list[Channel], seed: int, rows: int
) -> None:
    """A window does not care how its rows came."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 5, (rows, len(watched))).astype(np.float64)
    latencies = [1.0 + place for place in range(rows)]
    one, other = WindowProfile(watched), WindowProfile(watched)
    for row, latency in zip(values, latencies, strict=True):
        one.add(row, latency)
    other.add_rows(values, latencies)
    a, b = one.to_wire(), other.to_wire()
    assert (a.rows, a.counts, a.latency) == (b.rows, b.counts, b.latency)
    for x, y in zip(a.moments, b.moments, strict=True):
        np.testing.assert_allclose([x.mean, x.m2], [y.mean, y.m2], atol=1e-5)
