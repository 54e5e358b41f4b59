"""Which samples the ring keeps: spread in time, over streams, and in stretches."""

import math
import statistics
from collections import Counter
from itertools import pairwise
from random import Random

import numpy as np
import pytest

from edge_agent.base.randomness import KernelRandom
from edge_agent.evidence.recorder import Recorder
from edge_agent.evidence.reservoir import MEAN_AGE_S
from edge_agent.evidence.ring import KeptSample, Ring
from edge_agent.evidence.ring_writer import RingWriter
from tests.fakes.ring_memory import Clock, contract, offer, ring_memory

ONE = contract()
SEEDS = range(10)


def _at(now: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.array(now, np.float32)


def _times(kept: list[KeptSample]) -> list[float]:
    return [float(one.arrays["x"]) for one in kept]


def _recorder(fd: int, clock: Clock, seed: int, *, stateful: bool = False) -> Recorder:
    made = Recorder(RingWriter.attach(fd), Random(seed), clock.mono)
    made.follow([ONE], stateful=stateful)
    return made


def test_while_it_has_room_every_sample_is_kept() -> None:
    """The first 256 samples are all there, however fast they come."""
    with ring_memory() as fd:
        clock = Clock()
        recorder = _recorder(fd, clock, 1)
        kept = [offer(recorder, "a", _at(n)) for n in range(256)]
        assert all(kept)
        assert recorder.view().kept == recorder.view().capacity == 256


def test_while_young_every_moment_is_as_likely_to_be_kept() -> None:
    """Of an hour at 1 Hz each tenth has a tenth of the ring, over ten seeds."""
    tenths: Counter[int] = Counter()
    for seed in SEEDS:
        with ring_memory() as fd:
            clock = Clock()
            recorder = _recorder(fd, clock, seed)
            for step in range(3600):
                clock.now = 1000.0 + step
                offer(recorder, "a", _at(step))
            tenths.update(int(t // 360) for t in _times(Ring.attach(fd).samples()))
    expected = len(SEEDS) * 25.6
    assert all(abs(tenths[n] - expected) < 5 * math.sqrt(expected) for n in range(10))


def test_later_the_ring_is_of_the_last_hours() -> None:
    """After sixteen hours, the mean age of what is kept is about two hours."""
    ages: list[float] = []
    for seed in range(4):
        with ring_memory() as fd:
            clock = Clock()
            recorder = _recorder(fd, clock, seed)
            for step in range(16 * 360):
                clock.now = 1000.0 + 10.0 * step
                offer(recorder, "a", _at(10.0 * step))
            end = 10.0 * 16 * 360
            ages += [end - t for t in _times(Ring.attach(fd).samples())]
    assert 0.85 * MEAN_AGE_S < statistics.mean(ages) < 1.15 * MEAN_AGE_S


def test_a_fast_stream_does_not_starve_a_slow_one() -> None:
    """Of two streams at 100:1 the slow one has its half once it gave so many."""
    with ring_memory() as fd:
        clock = Clock()
        recorder = _recorder(fd, clock, 3)
        for step in range(60_000):
            clock.now = 1000.0 + step / 20
            offer(recorder, "fast", _at(step / 20))
            if step % 100 == 0:
                offer(recorder, "slow", _at(-step / 20))
        kept = Ring.attach(fd).samples()
        slow = sum(t < 0 for t in _times(kept))
        assert len(kept) == 256
        assert 100 <= slow <= 156
        assert len({one.stream for one in kept}) == 2


def test_a_silent_stream_gives_its_place_up() -> None:
    """What ended hours ago is replaced first, not kept for ever."""
    with ring_memory() as fd:
        clock = Clock()
        recorder = _recorder(fd, clock, 4)
        for step in range(7200):
            clock.now += 1.0
            offer(recorder, "old" if step % 2 else "new", _at(-1 if step % 2 else 1))
        for _ in range(6 * 3600):
            clock.now += 1.0
            offer(recorder, "new", _at(1))
        assert set(_times(Ring.attach(fd).samples())) == {1.0}


def test_streams_without_end_share_one_place() -> None:
    """Names that somebody makes up fill no table."""
    with ring_memory() as fd:
        recorder = _recorder(fd, Clock(), 5)
        for number in range(200):
            offer(recorder, f"s{number}", _at(number))
        kept = Ring.attach(fd).samples()
        assert len(kept) == 200
        assert len({one.stream for one in kept}) == 16


def test_numbers_count_samples_that_were_not_kept() -> None:
    """A kept sample's number is its place among all that were answered."""
    with ring_memory() as fd:
        clock = Clock()
        recorder = _recorder(fd, clock, 6)
        for number in range(1, 3001):
            clock.now += 1.0
            offer(recorder, "a", _at(number))
        kept = Ring.attach(fd).samples()
        assert [one.number for one in kept] == _times(kept)
        assert kept[-1].number > 2000


def test_another_writer_goes_on_where_the_first_one_died() -> None:
    """Samples, age and order stay, and no burst of failures spans the restart."""
    with ring_memory() as fd:
        clock = Clock()
        first = _recorder(fd, clock, 7)
        for number in range(1, 1001):
            clock.now += 1.0
            offer(first, "a", _at(number))
        before = Ring.attach(fd).samples()
        clock.now += 50.0
        second = _recorder(fd, clock, 8)
        for number in range(2000, 2100):
            clock.now += 1.0
            offer(second, "a", _at(number))
        after = Ring.attach(fd).samples()
        fresh = [one for one in after if one.arrays["x"] >= 2000]
        assert 5 < len(fresh) < 60, "a young ring would have taken all of them"
        assert min(one.number for one in fresh) > before[-1].number + 900
        assert len({one.stream for one in after}) == 1


def test_of_a_stateful_model_stretches_are_kept() -> None:
    """Sixteen consecutive samples of one stream share an id, and replace another."""
    with ring_memory() as fd:
        clock = Clock()
        recorder = _recorder(fd, clock, 9, stateful=True)
        for number in range(1, 20_001):
            clock.now += 1.0
            offer(recorder, "ab"[number % 2], _at(number))
        kept = Ring.attach(fd).samples()
        runs: dict[int, list[KeptSample]] = {}
        for one in kept:
            runs.setdefault(one.stretch, []).append(one)
        assert 0 not in runs
        assert len(runs) == 16
        assert sorted(len(run) for run in runs.values())[2:] == [16] * 14
        for run in runs.values():
            assert len({one.stream for one in run}) == 1
            assert all(b.number == a.number + 1 for a, b in pairwise(run))
        assert recorder.view().stateful


def test_a_stretch_that_a_swap_breaks_is_kept_shorter() -> None:
    """What comes after the swap begins another stretch."""
    with ring_memory() as fd:
        recorder = _recorder(fd, Clock(), 10, stateful=True)
        for number in range(10):
            offer(recorder, "a", _at(number))
        recorder.follow([ONE], stateful=True)
        for number in range(10, 14):
            offer(recorder, "a", _at(number))
        runs = Counter(one.stretch for one in Ring.attach(fd).samples())
        assert sorted(runs.values()) == [4, 10]


def test_a_sample_that_was_due_before_a_swap_is_not_kept_after_it() -> None:
    """It is of the release before, which may have had other inputs."""
    with ring_memory() as fd:
        recorder = _recorder(fd, Clock(), 11)
        due = recorder.count("a", recorder.mono())
        assert due is not None
        recorder.follow([contract(2)], stateful=False)
        recorder.keep(due, _at(1), {})
        assert recorder.view().kept == 0
        assert not recorder.view().problem


def test_without_a_release_nothing_is_kept() -> None:
    """The factory model, or none, leaves the ring as it is."""
    with ring_memory() as fd:
        recorder = _recorder(fd, Clock(), 12)
        offer(recorder, "a", _at(1))
        recorder.follow((), stateful=False)
        assert not offer(recorder, "a", _at(2))
        assert recorder.view().kept == 1


@pytest.mark.parametrize("make", [KernelRandom, lambda: Random(13)])
def test_waits_and_choices_are_random(make: type[KernelRandom]) -> None:
    """Both sources of randomness have the mean that they are asked for."""
    source = make()
    waits = [source.expovariate(0.5) for _ in range(4000)]
    assert 1.8 < statistics.mean(waits) < 2.2
    assert {source.choice("abc") for _ in range(200)} == set("abc")
