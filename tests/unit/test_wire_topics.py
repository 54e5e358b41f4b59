"""Topic names: built and parsed by one module, and nothing else gets through."""

import pytest

from edge_agent.wire import topics
from edge_agent.wire.topics import Address, Lane, Leaf


@pytest.mark.parametrize("lane", list(Lane))
def test_a_lane_topic_parses_back_to_its_device_and_lane(lane: Lane) -> None:
    """What ``up`` builds, ``parse`` reads."""
    assert topics.parse(topics.up("watch-01", lane)) == Address("watch-01", lane)


@pytest.mark.parametrize("leaf", list(Leaf))
def test_a_leaf_topic_parses_back_to_its_device_and_leaf(leaf: Leaf) -> None:
    """What ``leaf`` builds, ``parse`` reads."""
    assert topics.parse(topics.leaf("watch-01", leaf)) == Address("watch-01", leaf)


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "shoal/v1/hub/tuf",
        "shoal/v2/watch-01/up/metric",
        "shoal/v1/watch-01/up/other",
        "shoal/v1/watch-01/up/metric/more",
        "shoal/v1/a b/ack",
        "shoal/v1//ack",
        "other/v1/watch-01/ack",
    ],
)
def test_a_topic_of_another_form_is_nobodys(topic: str) -> None:
    """Foreign, unknown and malformed topics parse to nothing."""
    assert topics.parse(topic) is None


@pytest.mark.parametrize("text", ["", "hub", "a.b", "a/b", "+", "#", "ü", "a" * 65])
def test_what_could_break_a_topic_is_no_device_id(text: str) -> None:
    """Separators, wildcards, dots and the hub's own name are refused."""
    assert not topics.is_device_id(text)
