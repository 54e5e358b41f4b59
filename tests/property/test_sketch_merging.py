"""Merging sketches is exact and does not care about order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from edge_agent.sketch.moments import Moments
from edge_agent.sketch.profile import WindowProfile, merge_counts
from edge_agent.wire.profile import Channel, Source

CHANNELS = [
    Channel(name="a", source=Source.OUTPUT, tensor="t", edges=[-1.0, 0.0, 1.0]),
    Channel(name="b", source=Source.CLASS, categories=["x", "y"]),
]
VALUES = npst.arrays(
    np.float64,
    st.tuples(st.integers(1, 150), st.just(2)),
    elements=st.floats(-100, 100, width=32),
)


def profile_of(rows: np.ndarray) -> WindowProfile:
    """Return a window that has seen these rows one by one."""
    window = WindowProfile(CHANNELS)
    for row in rows:
        window.add(row, 1.0)
    return window


@given(VALUES, st.integers(0, 150))
def test_parts_merge_to_the_whole(rows: np.ndarray, cut: int) -> None:
    """However a stream is cut into windows, the counts add up to the same."""
    parts = [part for part in (rows[:cut], rows[cut:]) if len(part)]

    merged = merge_counts(profile_of(part).to_wire() for part in reversed(parts))

    assert [c.tolist() for c in merged] == profile_of(rows).to_wire().counts


@given(VALUES, VALUES)
def test_moments_merge_to_those_of_the_concatenation(
    first: np.ndarray, second: np.ndarray
) -> None:
    """Mean and spread agree with numpy on all rows at once."""
    one, two = Moments(2), Moments(2)
    one.add(first)
    two.add(second)
    both = np.concatenate([first, second])

    one.merge(two)

    assert one.n == len(both)
    assert one.mean == pytest.approx(both.mean(axis=0), abs=1e-9)
    assert one.m2 == pytest.approx(
        ((both - both.mean(axis=0)) ** 2).sum(axis=0), rel=1e-9, abs=1e-6
    )


@given(VALUES)
def test_rows_at_once_count_like_rows_one_by_one(rows: np.ndarray) -> None:
    """The trainer's way and the device's way give the same profile."""
    at_once = WindowProfile(CHANNELS)
    at_once.add_rows(rows)

    assert at_once.to_wire().counts == profile_of(rows).to_wire().counts
