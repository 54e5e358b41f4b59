"""Shares of the devices: each has one owner, whatever the number of processes."""

import pytest

from edge_agent.wire import topics
from edge_agent.wire.topics import Lane
from hub.ingest.shard import MAX_SHARDS, Shard


@pytest.mark.parametrize("of", range(1, MAX_SHARDS + 1))
def test_every_topic_has_exactly_one_owner(of: int) -> None:
    """Of any number of shards one owns a device, and one what is no device's."""
    shards = [Shard(number=number, of=of) for number in range(1, of + 1)]
    known = [topics.up(f"watch-{n:03d}", Lane.METRIC) for n in range(200)]

    for topic in [*known, "shoal/v1/bad.id/up/metric", "nonsense"]:
        assert sum(shard.owns(topic) for shard in shards) == 1


def test_devices_are_shared_out_evenly() -> None:
    """No shard of four has more than a third of a thousand devices."""
    owners = [
        sum(
            Shard(number=number, of=4).owns(topics.up(f"d{n}", Lane.ALERT))
            for n in range(1000)
        )
        for number in range(1, 5)
    ]

    assert sum(owners) == 1000
    assert max(owners) < 333


def test_all_lanes_of_a_device_have_the_same_owner() -> None:
    """Ownership goes by device, so that no two processes write to one stream."""
    shard = Shard(number=1, of=3)

    for n in range(50):
        assert len({shard.owns(topics.up(f"d{n}", lane)) for lane in Lane}) == 1


def test_a_share_is_written_as_number_and_of() -> None:
    """``2/4`` is the second of four."""
    assert Shard.parse("2/4") == Shard(number=2, of=4)


@pytest.mark.parametrize("text", ["", "2", "0/4", "5/4", "a/4", "1/17", "-1/4", "1/0"])
def test_a_share_that_is_none_is_refused(text: str) -> None:
    """What is not between 1/1 and 16/16 is named in the error."""
    with pytest.raises(ValueError, match=repr(text)):
        Shard.parse(text)
