"""The ring in a real worker: it survives it, follows swaps, and costs no prediction."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_agent.config import EvidenceConfig
from edge_agent.errors import SampleRejectedError
from edge_agent.evidence.memory import BAD_FILE, EvidenceMemory, open_memory
from edge_agent.evidence.ring import Ring
from tests.fakes.pump_release import pump_sample, put_pump_release
from tests.fakes.worker_device import Device, samples


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    """A device whose worker has a ring, and is ended with the test."""
    made = Device(tmp_path)
    made.evidence = open_memory(EvidenceConfig(), made.state)
    yield made
    made.kill()
    if made.evidence.fd >= 0:
        os.close(made.evidence.fd)


def _ring(device: Device) -> Ring:
    assert device.evidence is not None
    return Ring.attach(device.evidence.fd)


def test_what_the_active_release_answered_is_kept(device: Device) -> None:
    """The ring holds the validated samples; what did not fit is apart."""
    device.start()
    sent = samples(20)
    for n, x in enumerate(sent):
        device.client.infer(f"s{n}", x)
    with pytest.raises(SampleRejectedError):
        device.client.infer("bad", sent[0][:99])
    wild = sent[0].copy()
    wild[0, 0] = 51.0
    with pytest.raises(SampleRejectedError):
        device.client.infer("wild", wild)
    ring = _ring(device)
    kept = ring.samples()
    assert np.array_equal([one.arrays["x"] for one in kept], sent)
    (misfit,) = ring.misfits()
    assert misfit.reason == "shape"
    assert misfit.arrays[""].shape == (99, 6)
    seen = device.client.evidence()
    assert (seen.keep, seen.kept, seen.misfits) == ("memory", 20, 1)
    assert seen.fits
    assert seen.oldest_s is not None
    assert not seen.stateful
    assert seen.problem == ""


def test_the_ring_survives_a_worker_that_is_killed(device: Device) -> None:
    """Another worker goes on with what is there, and its numbers leave a gap."""
    device.start()
    for n, x in enumerate(samples(10)):
        device.client.infer(f"s{n}", x)
    device.kill()
    assert len(_ring(device).samples()) == 10
    device.start()
    device.client.infer("next", samples(1)[0])
    kept = _ring(device).samples()
    assert len(kept) == device.client.evidence().kept == 11
    assert kept[-1].number > kept[-2].number + 900


def test_a_swap_keeps_the_ring_unless_the_inputs_are_others(device: Device) -> None:
    """Release 2 takes the same inputs; the pump's two inputs empty the ring."""
    put_pump_release(device.store, 7)
    device.start()
    for n, x in enumerate(samples(10)):
        device.client.infer(f"s{n}", x)
    device.assign(active=2, previous=1)
    assert device.client.reload().release == 2
    assert device.client.evidence().kept == 10
    device.assign(active=7)
    assert device.client.reload().release == 7
    seen = device.client.evidence()
    assert (seen.kept, seen.fits) == (0, True)
    device.client.infer("p", pump_sample())
    (kept,) = _ring(device).samples()
    assert {name: a.tolist() for name, a in kept.arrays.items()} == {
        name: a.tolist() for name, a in pump_sample().items()
    }


def test_a_ring_is_emptied_on_request(device: Device) -> None:
    """Also one that was set aside is removed; recording goes on."""
    device.start()
    (device.state / BAD_FILE).write_bytes(b"samples")
    for n, x in enumerate(samples(10)):
        device.client.infer(f"s{n}", x)
    assert device.client.forget_evidence().kept == 0
    assert not (device.state / BAD_FILE).exists()
    assert _ring(device).samples() == []
    device.client.infer("next", samples(1)[0])
    assert device.client.evidence().kept == 1


def test_nothing_of_the_ring_is_on_disk(device: Device) -> None:
    """In memory mode no file of the state folder holds a sample's bytes."""
    device.start()
    sent = samples(5)
    for n, x in enumerate(sent):
        device.client.infer(f"s{n}", x)
    assert device.client.evidence().kept == 5
    assert device.stop() == 0
    files = [path for path in device.state.rglob("*") if path.is_file()]
    assert files
    assert not any(sent[3].tobytes()[:64] in path.read_bytes() for path in files)


@pytest.mark.parametrize("kind", ["none", "too small", "closed"])
def test_without_a_usable_ring_the_worker_serves_and_says_so(
    device: Device, kind: str
) -> None:
    """What the supervisor could not give, or is no ring, costs no prediction."""
    assert device.evidence is not None
    os.close(device.evidence.fd)
    device.evidence = EvidenceMemory(problem="no ring: no room")
    if kind == "too small":
        device.evidence = EvidenceMemory(fd=os.memfd_create("small"))
    elif kind == "closed":
        device.evidence = EvidenceMemory(fd=os.open("/dev/null", os.O_RDONLY))
    device.start()
    assert device.client.infer("a", samples(1)[0]).release == 1
    seen = device.client.evidence()
    assert (seen.kept, seen.capacity) == (0, 0)
    wanted = "no ring: no room" if kind == "none" else "AGENT-EVIDENCE-001"
    assert wanted in seen.problem
    assert device.client.forget_evidence().problem == seen.problem


def _grown_bytes(device: Device) -> int:
    """Return by how much a worker grows over three hundred samples."""
    device.start()
    sent = samples(300)
    for n in range(32):
        device.client.infer(f"warm{n}", sent[n])
    before = device.client.stats().rss_bytes
    for n, x in enumerate(sent):
        device.client.infer(f"s{n}", x)
    return device.client.stats().rss_bytes - before


def test_the_ring_costs_no_more_memory_than_it_may(
    device: Device, tmp_path: Path
) -> None:
    """A full ring adds at most its size to a worker, and a little for its code."""
    plain = Device(tmp_path / "plain")
    try:
        without = _grown_bytes(plain)
    finally:
        plain.kill()
    grown = _grown_bytes(device)
    seen = device.client.evidence()
    assert seen.kept == seen.capacity > 256 // 2
    assert grown - without < seen.bytes + (256 << 10)
