"""The ring of recent predictions stays within its bounds."""

import numpy as np

from edge_agent.pipeline.prediction import ServedBy
from edge_agent.pipeline.recent import Entry, Recent


def _entry(number: int, sample_id: str = "") -> Entry:
    return Entry(
        number=number,
        sample_id=sample_id or f"s{number}",
        at=0.0,
        release=1,
        label="up",
        labels=("up",),
        confidence=1.0,
        probabilities=np.ones(1, np.float32),
        served_by=ServedBy.ACTIVE,
        latency_us=1.0,
    )


def test_the_oldest_prediction_goes_first() -> None:
    """Beyond its size the ring forgets the oldest, with input and label mark."""
    ring = Recent(keep=3)
    for number in range(1, 6):
        ring.add(_entry(number), np.zeros(2, np.float32))
        ring.take_label(f"s{number}")
    assert ring.find("s2") is None
    assert ring.inputs_of("s2") is None
    assert [entry.number for entry in ring.after(0, 10)] == [3, 4, 5]


def test_inputs_are_bounded_by_bytes() -> None:
    """Old inputs go before their predictions do."""
    ring = Recent(input_bytes=100)
    for number in range(1, 6):
        ring.add(_entry(number), np.zeros(10, np.float32))
    assert [ring.inputs_of(f"s{n}") is not None for n in range(1, 6)] == [
        False,
        False,
        False,
        True,
        True,
    ]
    assert ring.find("s1") is not None


def test_after_returns_the_oldest_of_what_is_new() -> None:
    """A follower that asks in steps sees every number once."""
    ring = Recent()
    for number in range(1, 8):
        ring.add(_entry(number), None)
    assert [entry.number for entry in ring.after(2, 3)] == [3, 4, 5]
    assert ring.after(7, 3) == []
    assert ring.after(99, 3) == []


def test_a_sample_that_comes_again_may_be_labelled_again() -> None:
    """The newer prediction of an id replaces the older one."""
    ring = Recent()
    ring.add(_entry(1, "same"), None)
    assert ring.take_label("same")
    assert not ring.take_label("same")
    ring.add(_entry(2, "same"), None)
    assert ring.take_label("same")
    assert [entry.number for entry in ring.after(0, 10)] == [2]
