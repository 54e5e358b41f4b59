"""Whatever is in the ring's memory, a reader and the next writer survive it."""

import os
from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.evidence.layout import HEADER_BYTES, MIN_BYTES
from edge_agent.evidence.recorder import Recorder
from edge_agent.evidence.ring import Ring
from edge_agent.evidence.ring_writer import RingWriter
from tests.fakes.ring_memory import Clock, contract, offer, ring_memory

INPUTS = [contract(4, 3)]
changes = st.lists(
    st.tuples(st.integers(0, MIN_BYTES - 1), st.binary(min_size=1, max_size=64)),
    max_size=8,
)
near = st.lists(
    st.tuples(st.integers(0, HEADER_BYTES + 2000), st.binary(min_size=1, max_size=9)),
    max_size=8,
)


def _sample(value: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.full((4, 3), value, np.float32)


def _written(fd: int, count: int) -> Recorder:
    recorder = Recorder(RingWriter.attach(fd), Random(1), Clock().mono)
    recorder.follow(INPUTS, stateful=False)
    for value in range(count):
        offer(recorder, "a", _sample(value))
    recorder.refuse(np.zeros((2, 2)), "shape")
    return recorder


@given(written=st.integers(0, 20), damage=st.one_of(changes, near))
def test_damage_costs_samples_and_nothing_else(
    written: int, damage: list[tuple[int, bytes]]
) -> None:
    """After any change of bytes, what is read is what was written, or left out."""
    with ring_memory(MIN_BYTES) as fd:
        _written(fd, written)
        for place, data in damage:
            os.pwrite(fd, data[: MIN_BYTES - place], place)
        ring = Ring.attach(fd)
        kept = ring.samples()
        for one in kept:
            value = one.arrays["x"][0, 0]
            assert np.array_equal(one.arrays["x"], _sample(value))
            assert value in range(written)
        assert len(ring.misfits()) <= 1
        again = _written(fd, 1)
        assert not again.view().problem
        assert len(ring.samples()) >= 1


@given(noise=st.binary(max_size=600), start=st.integers(0, 200))
def test_noise_is_an_empty_ring(noise: bytes, start: int) -> None:
    """Bytes that no writer of ours wrote are never read as samples."""
    with ring_memory(MIN_BYTES) as fd:
        os.pwrite(fd, noise, start)
        ring = Ring.attach(fd)
        assert (ring.samples(), ring.misfits(), ring.contract) == ([], [], "")
        assert _written(fd, 3).view().kept == 3
