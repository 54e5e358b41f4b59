"""What a source does when the device is too hot."""

import threading
from dataclasses import replace

import numpy as np

from edge_agent.serve.sources.port import Intake, Outcome
from tests.fakes.asked_model import DEADLINE_S, AskedModel, contract_of

SAMPLE = np.zeros((4, 2), np.float32)


def test_a_lower_sampling_rate_leaves_samples_out_and_counts_them() -> None:
    """Every other kind of source thins its samples at the same place."""
    model = AskedModel(contract_of(4, 2))
    ports = replace(model.ports, skips=lambda number: number % 4 != 0)
    intake = Intake(name="imu", ports=ports)

    outcomes = [intake.offer(f"s{n}", SAMPLE).outcome for n in range(1, 9)]

    assert outcomes == ([Outcome.BUSY] * 3 + [Outcome.ANSWERED]) * 2
    assert model.ids == ["s4", "s8"]
    assert (intake.counters.answered, intake.counters.dropped) == (2, 6)


def test_files_wait_until_it_is_cooler() -> None:
    """Nothing of a file is lost or counted as failed; it is asked once it may be."""
    model = AskedModel(contract_of(4, 2))
    cooler = threading.Event()
    looked = threading.Event()

    def defers() -> bool:
        looked.set()
        return not cooler.is_set()

    intake = Intake(name="files", ports=replace(model.ports, defers=defers))
    stop = threading.Event()
    thread = threading.Thread(target=intake.insist, args=(stop, "s1", SAMPLE))
    thread.start()
    assert looked.wait(DEADLINE_S)
    assert model.ids == []
    cooler.set()
    thread.join(DEADLINE_S)

    assert model.ids == ["s1"]
    assert intake.counters.answered == 1


def test_a_worker_that_stops_does_not_wait_for_cooler_weather() -> None:
    """The file is left for the next time."""
    intake = Intake(
        name="files",
        ports=replace(AskedModel(contract_of(4, 2)).ports, defers=lambda: True),
    )
    stop = threading.Event()
    stop.set()
    assert intake.insist(stop, "s1", SAMPLE).outcome is Outcome.BUSY
    assert intake.counters.failed == 0
