"""The ring's memory: what is kept comes back, and nothing torn is believed."""

import os
from collections.abc import Iterator
from random import Random

import numpy as np
import pytest

from edge_agent.errors import RingError
from edge_agent.evidence.layout import HEADER_BYTES, MIN_BYTES, contract_digest
from edge_agent.evidence.recorder import Recorder
from edge_agent.evidence.ring import Ring
from edge_agent.evidence.ring_writer import RingWriter
from edge_agent.wire.manifest import InputContract, TensorContract
from tests.fakes.ring_memory import Clock, contract, offer, ring_memory

WINDOW = contract(10, 6)
SEVERAL = [
    InputContract(tensor=TensorContract(name="image", dtype="uint8", shape=[3, 5])),
    InputContract(tensor=TensorContract(name="on", dtype="bool", shape=[2])),
    InputContract(tensor=TensorContract(name="number", dtype="float64", shape=[])),
]


@pytest.fixture
def fd() -> Iterator[int]:
    """A memory of the default size."""
    with ring_memory() as made:
        yield made


def _recorder(fd: int, clock: Clock, seed: int = 1) -> Recorder:
    return Recorder(RingWriter.attach(fd), Random(seed), clock.mono)


def _sample(value: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.full((10, 6), value, np.float32)


def test_what_is_kept_comes_back(fd: int) -> None:
    """Samples come back by input name with dtype, shape, number and stream, by age."""
    recorder = _recorder(fd, Clock())
    recorder.follow([WINDOW], stateful=False)
    for value in range(5):
        offer(recorder, "a" if value % 2 else "b", _sample(value))
    ring = Ring.attach(fd)
    kept = ring.samples()
    assert [one.arrays["x"][0, 0] for one in kept] == [0, 1, 2, 3, 4]
    assert [(one.stream, one.number) for one in kept] == [
        (0, 1),
        (1, 1),
        (0, 2),
        (1, 2),
        (0, 3),
    ]
    assert {one.stretch for one in kept} == {0}
    assert kept[0].arrays["x"].dtype == np.float32
    assert kept[0].arrays["x"].shape == (10, 6)
    assert ring.contract == contract_digest([WINDOW])
    assert ring.torn == 0


def test_several_inputs_of_any_number_format_come_back(fd: int) -> None:
    """Each input has its own array, a number without axes among them."""
    recorder = _recorder(fd, Clock())
    recorder.follow(SEVERAL, stateful=False)
    image = np.arange(15, dtype=np.uint8).reshape(3, 5)
    extra = {"number": np.array(2.5), "on": np.array([True, False])}
    due = recorder.count("a", recorder.mono())
    assert due is not None
    recorder.keep(due, image, extra)
    (kept,) = Ring.attach(fd).samples()
    assert {name: a.dtype.name for name, a in kept.arrays.items()} == {
        "image": "uint8",
        "on": "bool",
        "number": "float64",
    }
    assert np.array_equal(kept.arrays["image"], image)
    assert kept.arrays["number"] == 2.5
    assert kept.arrays["on"].tolist() == [True, False]


def test_a_torn_slot_is_left_out_and_counted(fd: int) -> None:
    """One changed byte of a slot costs that sample, for reader and next writer."""
    recorder = _recorder(fd, Clock())
    recorder.follow([WINDOW], stateful=False)
    for value in range(3):
        offer(recorder, "a", _sample(value))
    ring = Ring.attach(fd)
    layout = ring.layout
    assert layout is not None
    os.pwrite(fd, b"\x55", layout.slot(1).start + 100)
    assert [one.arrays["x"][0, 0] for one in ring.samples()] == [0, 2]
    assert ring.torn == 1
    again = _recorder(fd, Clock())
    again.follow([WINDOW], stateful=False)
    offer(again, "a", _sample(7))
    assert [one.arrays["x"][0, 0] for one in ring.samples()] == [0, 2, 7]
    assert ring.torn == 0


def test_a_damaged_header_is_an_empty_ring(fd: int) -> None:
    """Nobody reads behind it, and the next writer lays the ring out anew, empty."""
    recorder = _recorder(fd, Clock())
    recorder.follow([WINDOW], stateful=False)
    offer(recorder, "a", _sample(1))
    for place in range(0, 100, 4):
        before = os.pread(fd, 1, place)
        os.pwrite(fd, bytes([before[0] ^ 0xFF]), place)
        ring = Ring.attach(fd)
        assert (ring.contract, ring.samples(), ring.misfits()) == ("", [], [])
        os.pwrite(fd, before, place)
    assert len(Ring.attach(fd).samples()) == 1
    os.pwrite(fd, b"\xff", 20)
    again = _recorder(fd, Clock())
    again.follow([WINDOW], stateful=False)
    assert Ring.attach(fd).contract == contract_digest([WINDOW])
    assert Ring.attach(fd).samples() == []


def test_another_contract_empties_the_ring_and_the_same_keeps_it(fd: int) -> None:
    """Other limits are the same contract; another shape, dtype or name is not."""
    recorder = _recorder(fd, Clock())
    recorder.follow([WINDOW], stateful=False)
    offer(recorder, "a", _sample(1))
    wider = InputContract(tensor=WINDOW.tensor, low=-5.0, high=5.0)
    recorder.follow([wider], stateful=False)
    assert len(Ring.attach(fd).samples()) == 1
    recorder.follow([contract(10, 7)], stateful=False)
    assert Ring.attach(fd).samples() == []
    raw = os.pread(fd, 1 << 20, 0)[HEADER_BYTES:]
    assert not any(raw), "what was kept is overwritten"


def test_a_cleared_ring_holds_not_one_byte_and_fills_again(fd: int) -> None:
    """Emptied on request: samples and misfits are overwritten, recording goes on."""
    recorder = _recorder(fd, Clock())
    recorder.follow([WINDOW], stateful=False)
    offer(recorder, "a", _sample(1))
    recorder.refuse(np.ones(3, np.float32), "shape")
    recorder.clear()
    assert not any(os.pread(fd, 1 << 20, 0)[HEADER_BYTES:])
    offer(recorder, "a", _sample(2))
    assert len(Ring.attach(fd).samples()) == recorder.view().kept == 1


def test_inputs_that_did_not_fit_are_kept_apart(fd: int) -> None:
    """At most sixteen in an eighth of the memory, with reason, dtype and shape."""
    recorder = _recorder(fd, Clock())
    recorder.follow([WINDOW], stateful=False)
    for size in range(40):
        recorder.refuse(np.full((size, 2), size, np.int16), "shape")
    recorder.refuse(np.zeros(1 << 20), "shape")
    recorder.refuse(np.array(["text"]), "dtype")
    ring = Ring.attach(fd)
    found = ring.misfits()
    assert [one.arrays[""].shape for one in found] == [(n, 2) for n in range(16)]
    assert {one.reason for one in found} == {"shape"}
    assert found[3].arrays[""].dtype == np.int16
    assert ring.samples() == []


def test_further_misfits_replace_the_oldest_one_a_minute(fd: int) -> None:
    """A broken sensor neither fills the processor nor keeps out what comes later."""
    clock = Clock()
    recorder = _recorder(fd, clock)
    recorder.follow([WINDOW], stateful=False)
    for value in range(200):
        clock.now += 1.0
        recorder.refuse({"y": np.full(3, value, np.float64)}, "inputs")
    values = [one.arrays["y"][0] for one in Ring.attach(fd).misfits()]
    assert values == [*range(3, 16), 75, 135, 195]


def test_large_inputs_leave_room_for_few_and_it_is_said() -> None:
    """Below 64 samples the ring says so; where not one has room, nothing is kept."""
    with ring_memory(MIN_BYTES) as fd:
        recorder = _recorder(fd, Clock())
        recorder.follow([contract(1000)], stateful=False)
        view = recorder.view()
        assert 0 < view.capacity < 64
        assert view.problem.startswith(f"room for {view.capacity} samples; paired")
        recorder.follow([contract(100_000)], stateful=False)
        offer(recorder, "a", np.zeros(100_000, np.float32))
        assert recorder.view().capacity == recorder.view().kept == 0
        assert recorder.view().problem.startswith("room for 0 samples")


def test_a_failing_ring_ends_the_recording_and_nothing_else(fd: int) -> None:
    """What goes wrong inside is said; whoever predicts notices nothing."""
    recorder = _recorder(fd, Clock())
    recorder.follow(SEVERAL, stateful=False)
    due = recorder.count("a", recorder.mono())
    assert due is not None
    recorder.keep(due, np.zeros((3, 5), np.uint8), {"wrong": np.zeros(1)})
    assert "AGENT-EVIDENCE-005" in recorder.view().problem
    assert recorder.count("a", recorder.mono()) is None


def test_what_is_no_ring_by_its_size_is_refused() -> None:
    """An empty file, one that is too large, a pipe and a closed descriptor."""
    reader, writer = os.pipe()
    small = os.memfd_create("small")
    os.ftruncate(small, MIN_BYTES - 1)
    for fd in (reader, small, 1_000_000, -1):
        with pytest.raises(RingError, match="AGENT-EVIDENCE-001"):
            Ring.attach(fd)
    for fd in (reader, writer, small):
        os.close(fd)


def test_nothing_can_be_cut_off_under_a_reader(fd: int) -> None:
    """The memory is sealed: no process can shrink or grow it."""
    for size in (MIN_BYTES, 2 << 20):
        with pytest.raises(PermissionError):
            os.ftruncate(fd, size)
