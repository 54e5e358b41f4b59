"""Pooling shadow summaries: the device is the unit, and few devices prove nothing."""

import pytest

from edge_agent.wire.records import ShadowSummary
from hub.rollout.pairs import Agreement, score_pairs


def summary(disagreement: float, n: int = 40) -> ShadowSummary:
    """Return a device's summary."""
    return ShadowSummary(
        release=2, n=n, disagreement_ratio=disagreement, latency_ratio=2.0
    )


def test_nothing_is_no_disagreement() -> None:
    """Without pairs there is nothing to hold against a release."""
    assert score_pairs([]) == Agreement()
    assert score_pairs([summary(0.9, n=0)]) == Agreement()
    assert not Agreement().exceeds(0.0)


def test_devices_count_alike() -> None:
    """A device with many pairs does not outweigh one with few."""
    pooled = score_pairs([summary(0.0, n=10_000), summary(0.4, n=10)])

    assert (pooled.devices, pooled.pairs) == (2, 10_010)
    assert pooled.disagreement == pytest.approx(0.2)
    assert pooled.latency_ratio == 2.0


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        ([0.1, 0.1, 0.1], (False, False)),
        ([0.9], (True, False)),
        ([0.9, 0.9], (True, False)),
        ([0.9, 0.9, 0.9], (True, True)),
        ([0.0, 0.1, 1.0], (True, False)),
        ([0.3, 0.3, 0.3], (False, False)),
    ],
)
def test_certainty_needs_devices_that_agree(
    ratios: list[float], expected: tuple[bool, bool]
) -> None:
    """Three devices alike are certain; two, or three that differ widely, are not."""
    pooled = score_pairs([summary(ratio) for ratio in ratios])

    assert (pooled.exceeds(0.3), pooled.surely_exceeds(0.3)) == expected
