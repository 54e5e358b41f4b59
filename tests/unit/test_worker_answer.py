"""Whether an answer is one, and whether two of them agree."""

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.pipeline.answer import disagree, is_finite
from edge_agent.pipeline.prediction import Prediction


@pytest.mark.parametrize(
    "values",
    [
        np.array([1e30, 1e30], np.float32),
        np.array([60000, 60000], np.float16),
        np.array([1, 2]),
        np.array([True]),
    ],
)
def test_large_numbers_are_finite(values: NDArray[np.generic]) -> None:
    """Even where their squares are not."""
    assert is_finite(values)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_number_that_is_not_finite_is_seen(value: float) -> None:
    """Wherever it is, and however wide the floats are."""
    for dtype in (np.float16, np.float32, np.float64):
        values = np.ones(9, dtype)
        values[4] = value
        assert not is_finite(values)


def _said(label: str, **outputs: list[float]) -> Prediction:
    empty = np.empty(0, np.float32)
    return Prediction(
        release=1,
        label=label,
        index=0,
        confidence=0.0,
        probabilities=empty,
        outputs={name: np.array(v, np.float32) for name, v in outputs.items()},
        inputs=empty,
        latency_us=1.0,
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (_said("a", y=[1]), _said("a", y=[2])),
        (_said("", y=[10, 0]), _said("", y=[10.5, 0])),
        (_said("", y=[0]), _said("", y=[0])),
    ],
)
def test_models_agree_by_class_or_within_a_tenth(
    one: Prediction, other: Prediction
) -> None:
    """Of a classifier the numbers do not matter."""
    assert not disagree(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (_said("a"), _said("b")),
        (_said("a"), _said("", y=[1])),
        (_said("", y=[10, 0]), _said("", y=[12, 0])),
        (_said("", y=[1]), _said("", z=[1])),
        (_said("", y=[1]), _said("", y=[1, 1])),
    ],
)
def test_models_disagree_by_class_or_by_more_than_a_tenth(
    one: Prediction, other: Prediction
) -> None:
    """Without classes the numbers are compared by their size."""
    assert disagree(one, other)
