"""A release in shadow in the real worker: real pairs, which no request notices."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.heartbeat import SOCKET_FILE, WorkerPort
from edge_agent.pipeline.shadow import NICENESS
from edge_agent.wire.records import FeedbackRecord, PairedAnswer
from edge_agent.wire.topics import Lane
from tests.fakes.worker_device import LABELS, Device, samples, wait_for


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    """A device whose worker is ended with the test."""
    made = Device(tmp_path)
    yield made
    made.kill()


def serve(device: Device, count: int) -> None:
    """Ask for predictions, all of which the active release must answer."""
    for n, sample in enumerate(samples(count)):
        made = device.client.infer(f"s{n}", sample)
        assert (made.release, made.served_by) == (1, "active")


def _niceness(device: Device) -> list[int]:
    """Return how much each thread of the worker stands back."""
    assert device.process is not None
    tasks = Path(f"/proc/{device.process.pid}/task").iterdir()
    stats = [(task / "stat").read_text() for task in tasks]
    return [int(stat.rpartition(")")[2].split()[16]) for stat in stats]


def pairs(device: Device) -> int:
    """Return how many pairs there are."""
    return device.client.shadow().summary.n


def test_pairs_are_made_beside_live_requests(device: Device) -> None:
    """Both see the same samples; only the active one answers and is counted."""
    device.start()
    assert device.client.shadow().summary.release == 0
    device.try_out(2)
    assert device.client.reload().release == 1
    wait_for(lambda: device.client.shadow().ready)

    for n, sample in enumerate(samples(20), start=1):
        assert device.client.infer(f"s{n}", sample).served_by == "active"
        wait_for(lambda n=n: pairs(device) == n)  # type: ignore[misc]

    summary = device.client.shadow().summary
    assert (summary.release, summary.errors) == (2, 0)
    assert summary.dropped == 0
    assert summary.disagreement_ratio < 0.5, "it is the same model, quantized"
    assert summary.latency_ratio > 0
    stats = device.client.stats()
    assert (stats.release, stats.predictions) == (1, 20)
    *others, shadow = sorted(_niceness(device))
    assert shadow == max(NICENESS, os.nice(0))
    assert set(others) == {os.nice(0)}


def test_shadow_is_dropped_first(device: Device) -> None:
    """Requests as fast as they can be made are all answered; what cannot be tried
    beside them is counted.
    """  # noqa: D205 - the summary is one sentence
    device.start()
    device.try_out(2)
    device.client.reload()
    wait_for(lambda: device.client.shadow().ready)

    serve(device, 300)

    wait_for(lambda: pairs(device) + device.client.shadow().summary.dropped == 300)
    assert device.client.stats().errors == 0


def test_shadow_ends_with_its_phase(device: Device) -> None:
    """When the slot row names no shadow any more, the next reload drops it."""
    device.start()
    device.try_out(2)
    device.client.reload()
    wait_for(lambda: device.client.shadow().ready)

    device.assign(active=2, previous=1)
    status = device.client.reload()

    assert (status.release, status.previous) == (2, 1)
    assert device.client.shadow().summary.release == 0


def test_worker_that_starts_in_shadow_goes_on_with_it(device: Device) -> None:
    """The slot row says what runs beside, also after a death."""
    device.try_out(2)
    device.start()
    wait_for(lambda: device.client.shadow().ready)
    device.kill()

    device.start()

    wait_for(lambda: device.client.shadow().ready)
    serve(device, 5)
    wait_for(lambda: pairs(device) > 0)


def test_damaged_candidate_is_told_and_touches_nothing(device: Device) -> None:
    """What is not what its digest says is not run, not even in shadow."""
    sha256 = device.store.read_release(2).bundle.model.sha256
    device.store.path(sha256).write_bytes(b"not a model")
    device.start()
    device.try_out(2)

    assert not device.client.reload().problem

    wait_for(lambda: bool(device.client.shadow().problem))
    assert "AGENT-STORE-005" in device.client.shadow().problem
    serve(device, 3)


def feedback(device: Device, count: int) -> list[FeedbackRecord]:
    """Label the first samples once both releases answered; return their records."""
    for n in range(count):
        device.client.feedback(f"s{n}", LABELS[0])
    assert device.stop() == 0
    found = device.records(Lane.METRIC)
    return [record for record in found if isinstance(record, FeedbackRecord)]


def pair_all(device: Device, release: int, count: int) -> None:
    """Have each sample answered by both, one after the other."""
    for n, sample in enumerate(samples(count)):
        made = device.client.infer(f"s{n}", sample)
        assert (made.release, made.served_by) == (release, "active")
        wait_for(lambda n=n: pairs(device) == n + 1)  # type: ignore[misc]


def test_labels_get_the_answers_of_both(device: Device) -> None:
    """In shadow the candidate is the other release, and its figures are there."""
    device.start()
    device.try_out(2)
    device.client.reload()
    wait_for(lambda: device.client.shadow().ready)
    pair_all(device, 1, 10)

    figures = device.client.shadow().figures
    supervisor = WorkerPort(device.state / SOCKET_FILE)
    assert supervisor.shadow().figures == figures
    supervisor.close()
    records = feedback(device, 10)

    assert figures is not None
    assert (figures.n, figures.candidate_failures, figures.latency_ratio) == (
        10,
        0,
        None,
    )
    assert figures.confidence_drop == pytest.approx(0.0, abs=0.05), "one model twice"
    assert [record.release for record in records] == [1] * 10
    others = [record.other for record in records]
    assert all(isinstance(one, PairedAnswer) and one.release == 2 for one in others)
    for record in records:
        assert isinstance(record.other, PairedAnswer)
        assert record.other.predicted in LABELS
        assert record.other.correct == (record.other.predicted == LABELS[0])


def test_after_the_swap_the_release_before_is_the_other(device: Device) -> None:
    """Pairs go on the other way round, also after a death of the worker."""
    device.swap(2, previous=1)
    device.start()
    wait_for(lambda: device.client.shadow().ready)
    pair_all(device, 2, 3)
    device.kill()

    device.start()
    wait_for(lambda: device.client.shadow().ready)
    assert device.client.shadow().summary.release == 1
    pair_all(device, 2, 5)
    records = feedback(device, 5)

    assert [record.release for record in records] == [2] * 5
    others = [record.other for record in records]
    assert all(isinstance(one, PairedAnswer) and one.release == 1 for one in others)


def test_swap_turns_the_pairs_round(device: Device) -> None:
    """The candidate is freed, and what was active becomes the other release."""
    device.start()
    device.try_out(2)
    device.client.reload()
    wait_for(lambda: device.client.shadow().ready)
    pair_all(device, 1, 2)

    device.swap(2, previous=1)
    assert device.client.reload().release == 2
    wait_for(lambda: device.client.shadow().ready)

    assert device.client.shadow().summary.release == 1
    pair_all(device, 2, 2)


def test_release_before_is_dropped_first(device: Device) -> None:
    """Requests as fast as they can be made are all answered by the active release."""
    device.swap(2, previous=1)
    device.start()
    wait_for(lambda: device.client.shadow().ready)

    for n, sample in enumerate(samples(300)):
        made = device.client.infer(f"s{n}", sample)
        assert (made.release, made.served_by) == (2, "active")

    wait_for(lambda: pairs(device) + device.client.shadow().summary.dropped == 300)
    stats = device.client.stats()
    assert (stats.predictions, stats.errors) == (300, 0)
