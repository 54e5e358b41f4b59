"""What a bundle publishes of its loss of confidence."""

import math

import numpy as np
import pytest

from edge_agent.wire.manifest import CONFIDENCE_DROP
from trainer.gate.confidence import (
    MAX_DROP,
    Confidence,
    describe_drop,
    mean_confidence,
    publish_drop,
)


def of(candidate: float, incumbent: float) -> Confidence:
    """Return what was measured on a thousand samples."""
    return Confidence(candidate=candidate, incumbent=incumbent, n=1000)


def test_mean_confidence_is_the_mean_of_the_largest_probabilities() -> None:
    """Each sample counts with its most probable class."""
    probabilities = np.array([[0.2, 0.8], [0.6, 0.4]], np.float32)
    assert mean_confidence(probabilities) == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("candidate", "incumbent", "published"),
    [(0.71, 0.82, 0.11), (0.82, 0.71, -0.11), (0.8, 0.8, 0.0), (0.2, 0.95, MAX_DROP)],
)
def test_a_passed_candidate_publishes_its_drop_up_to_half(
    candidate: float, incumbent: float, published: float
) -> None:
    """The drop goes out as measured, also a negative one, but never above the cap."""
    found = publish_drop(of(candidate, incumbent), passed=True)
    assert found == pytest.approx(published)


def test_a_refused_candidate_publishes_nothing() -> None:
    """Garbage that is forced past the gate has no published drop to hide behind."""
    assert publish_drop(of(0.2, 0.8), passed=False) is None


def test_without_an_incumbent_or_a_number_nothing_is_published() -> None:
    """A first model has nothing to compare with, and NaN is no drop."""
    assert publish_drop(None, passed=True) is None
    assert publish_drop(of(math.nan, 0.8), passed=True) is None


def test_the_card_says_both_confidences_and_what_is_published() -> None:
    """People read the two means, on how many samples, and why it is published."""
    text = describe_drop(of(0.71, 0.82), 0.11)
    for part in ("1000 samples", "0.71", "incumbent 0.82", "0.11", "published"):
        assert part in text


def test_the_card_calls_a_surer_candidate_surer() -> None:
    """A negative drop is not told as a loss that devices should allow for."""
    text = describe_drop(of(0.82, 0.71), -0.11)
    assert "no drop (0.11 surer)" in text
    assert "fault" not in text


def test_the_published_figure_has_the_name_that_devices_read() -> None:
    """The key is part of the contract with devices."""
    assert CONFIDENCE_DROP == "confidence_drop"
