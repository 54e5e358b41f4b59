"""Sketches: counting, distances and references, by example."""

import numpy as np
import pytest

from edge_agent.sketch import distance, latency
from edge_agent.sketch.bins import bin_values
from edge_agent.sketch.channels import extract
from edge_agent.sketch.profile import WindowProfile, merge_counts
from edge_agent.sketch.reference import build_reference
from edge_agent.sketch.variation import total_variation
from edge_agent.wire.profile import Channel, Source

CLASS = Channel(name="class", source=Source.CLASS, categories=["a", "b", "c"])
MEAN = Channel(name="x.mean", source=Source.INPUT_MEAN, index=0, edges=[0.0, 1.0])


def test_values_fall_into_half_open_bins_with_open_ends() -> None:
    """An edge belongs to the bin above it."""
    values = np.array([-1.0, 0.0, 0.5, 1.0, 9.0])

    assert bin_values(MEAN, values).tolist() == [1, 2, 2]


def test_an_unknown_category_is_counted_in_the_last_bin() -> None:
    """Nothing is lost and nothing raises."""
    assert bin_values(CLASS, np.array([0.0, 7.0])).tolist() == [1, 0, 1]


def test_every_source_gives_its_column() -> None:
    """Class, confidence, input statistics and outputs come out in order."""
    channels = [
        CLASS,
        Channel(name="confidence", source=Source.CONFIDENCE),
        MEAN,
        Channel(name="x.std", source=Source.INPUT_STD, index=1),
        Channel(name="e1", source=Source.OUTPUT, tensor="e", index=1),
    ]
    inputs = np.array([[[1.0, 0.0], [3.0, 4.0]]], np.float32)
    probabilities = np.array([[0.1, 0.7, 0.2]], np.float32)

    values = extract(
        channels, inputs, probabilities, {"e": np.array([[5.0, 6.0]], "f4")}
    )

    assert values == pytest.approx(np.array([[1.0, 0.7, 2.0, 2.0, 6.0]]))


def test_rejected_samples_are_counted_and_enter_nothing_else() -> None:
    """A broken sensor must not read as drift."""
    window = WindowProfile([MEAN])
    window.add(np.array([0.5]), 10.0)
    window.reject("not_finite")

    data = window.to_wire()

    assert (data.rows, data.counts, data.rejected) == (
        1,
        [[0, 1, 0]],
        {"not_finite": 1},
    )


def test_profiles_over_other_channels_are_not_merged() -> None:
    """A mistake here would silently compare apples with pears."""
    one, two = WindowProfile([MEAN]), WindowProfile([CLASS, MEAN])

    with pytest.raises(ValueError, match="different channels"):
        merge_counts([one.to_wire(), two.to_wire()])


def test_psi_is_zero_for_equal_shares_and_grows_with_the_shift() -> None:
    """It is corrected for small counts, so equal samples score nothing."""
    same = distance.psi([50, 50, 50], [500, 500, 500])
    little = distance.psi([40, 50, 60], [500, 500, 500])
    much = distance.psi([0, 10, 140], [500, 500, 500])

    assert same == 0
    assert 0 < little < 0.1
    assert much > 1.0


def test_total_variation_is_one_for_disjoint_counts() -> None:
    """It is bounded and easy to read."""
    assert total_variation([5, 0], [0, 9]) == 1.0
    assert total_variation([5, 5], [1, 1]) == 0.0
    assert total_variation([0, 0], [1, 1]) == 0.0


def test_latency_quantiles_are_within_a_bin_of_the_truth() -> None:
    """A bin is 4.4 % wide, so its middle is at most 2.2 % off."""
    counts: dict[int, int] = {}
    for value in range(1, 1001):
        bin_ = latency.bin_of(float(value))
        counts[bin_] = counts.get(bin_, 0) + 1

    assert latency.quantile_us(counts, 0.5) == pytest.approx(500, rel=0.045)
    assert latency.quantile_us({}, 0.5) == 0


def test_a_reference_drops_what_never_varies_and_keeps_its_size() -> None:
    """A constant channel is no evidence; the row count is part of it."""
    rng = np.random.default_rng(3)
    values = np.column_stack(
        [rng.integers(0, 3, 400), np.zeros(400), rng.normal(size=400)]
    )
    channels = [
        CLASS,
        Channel(name="dead", source=Source.OUTPUT, tensor="e"),
        Channel(name="alive", source=Source.OUTPUT, tensor="e", index=1),
    ]

    reference = build_reference("m", channels, values, bins=8)

    assert [channel.name for channel in reference.channels] == ["class", "alive"]
    assert reference.data.rows == 400
    assert len(reference.channels[1].edges) == 7
    assert reference.data.counts[1] == pytest.approx([50] * 8, abs=1)
