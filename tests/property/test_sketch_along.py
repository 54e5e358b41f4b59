"""Means and spreads as products are NumPy's own, and thin samples tell the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.sketch.along import MAX_ELEMENTS, means, spreads, thin
from edge_agent.sketch.channels import extract
from edge_agent.wire.profile import Channel, Source


@given(
    st.integers(1, 40),
    st.integers(1, 60),
    st.integers(1, 12),
    st.sampled_from(["float32", "float64", "int16", "bool", "float16"]),
    st.integers(0, 2**32 - 1),
)
def test_products_are_numpys_reductions(
    count: int, rows: int, axes: int, dtype: str, seed: int
) -> None:
    """For any shape and number format, with means far from zero."""
    rng = np.random.default_rng(seed)
    far = rng.uniform(-20, 20, axes)
    x = (rng.normal(size=(count, rows, axes)) * 0.5 + far).astype(dtype)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(means(x), wide.mean(axis=1), atol=1e-4)
    np.testing.assert_allclose(spreads(x), wide.std(axis=1), atol=2e-2)


def test_a_small_spread_far_from_zero_is_seen() -> None:
    """An axis under gravity that hardly moves keeps its spread."""
    rng = np.random.default_rng(6)
    x = (9.81 + 0.02 * rng.normal(size=(64, 100, 3))).astype(np.float32)
    np.testing.assert_allclose(spreads(x), x.astype(float).std(axis=1), rtol=0.02)


@pytest.mark.parametrize("shape", [(), (4,), (100, 6), (49, 10, 1), (2048,)])
def test_small_samples_are_looked_at_whole(shape: tuple[int, ...]) -> None:
    """Nothing is left out of what has few numbers."""
    x = np.arange(3 * int(np.prod(shape)), dtype=np.float32).reshape(3, *shape)
    assert thin(x).size == x.size


@pytest.mark.parametrize("shape", [(96, 96, 3), (5000, 2), (512, 512)])
def test_large_samples_lose_whole_rows(shape: tuple[int, ...]) -> None:
    """What is left has all axes, few rows, and is thin already."""
    x = np.random.default_rng(2).random((2, *shape)).astype(np.float32)
    thinned = thin(x)
    assert thinned.shape[-1] == shape[-1]
    assert thinned[0].size <= MAX_ELEMENTS
    assert thin(thinned).shape == thinned.shape
    np.testing.assert_allclose(means(thinned).mean(), x.mean(), atol=0.05)


def test_thinned_and_whole_samples_give_the_same_channels() -> None:
    """A device that kept thinned samples agrees with a trainer that had them whole."""
    x = np.random.default_rng(3).random((4, 96, 96, 3)).astype(np.float32)
    channels = [
        Channel(name="mean", source=Source.INPUT_MEAN, index=2),
        Channel(name="std", source=Source.INPUT_STD, index=1),
        Channel(name="level", source=Source.INPUT_LEVEL),
        Channel(name="spread", source=Source.INPUT_SPREAD),
    ]
    none = np.empty((4, 0), np.float32)
    np.testing.assert_allclose(
        extract(channels, x, none, {}), extract(channels, thin(x), none, {})
    )
