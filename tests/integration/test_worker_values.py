"""A worker process with a release that tells no classes and has two inputs."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_agent.errors import SampleRejectedError, WorkerError
from edge_agent.runtime.litert import load_model
from edge_agent.update.selftest import spawn_self_test
from edge_agent.wire.records import ProfileRecord, SampleRecord
from edge_agent.wire.topics import Lane
from tests.fakes.pump_release import MODEL, pump_sample, put_pump_release
from tests.fakes.worker_device import Device


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    """Start a worker that serves the pump's release."""
    made = Device(tmp_path)
    put_pump_release(made.store, 3)
    made.assign(active=3, previous=1)
    made.start()
    yield made
    made.kill()


def test_the_reply_holds_the_named_outputs(device: Device) -> None:
    """No label, no probabilities, and the numbers that the model gives."""
    wanted = load_model(MODEL.read_bytes()).predict_named(pump_sample())
    made = device.client.infer("s1", pump_sample())
    assert (made.label, made.confidence, made.probabilities) == ("", 0.0, [])
    assert (made.release, made.served_by) == (3, "active")
    assert made.outputs.keys() == wanted.keys()
    for name, output in made.outputs.items():
        assert output.shape == list(wanted[name].shape)
        assert output.values == pytest.approx(wanted[name].tolist())
    (kept,) = device.client.recent()
    assert kept.outputs == {}
    status = device.client.status()
    assert (status.inputs, status.labels) == (["flow", "level"], [])


def test_samples_without_every_input_are_rejected(device: Device) -> None:
    """A single array does not fit, and is counted as such."""
    with pytest.raises(SampleRejectedError) as caught:
        device.client.infer("s1", np.zeros(4, np.float32))
    assert caught.value.reason == "inputs"
    assert device.client.stats().rejected_by_reason == {"inputs": 1}
    device.client.check()


def test_a_label_has_nothing_to_be_compared_with(device: Device) -> None:
    """Feedback is refused with a text, and no sample of it leaves the device."""
    device.client.collect(3)
    device.client.infer("s1", pump_sample())
    with pytest.raises(WorkerError, match="no classes") as caught:
        device.client.feedback("s1", "high")
    assert caught.value.code == "AGENT-WORKER-008"
    assert device.stop() == 0
    assert not any(isinstance(r, SampleRecord) for r in device.records(Lane.SAMPLE))


def test_windows_without_channels_still_count(device: Device) -> None:
    """Rows, latency and rejections are reported of a release without a reference."""
    for seed in range(25):
        device.client.infer(f"s{seed}", pump_sample(seed))
    stats = device.client.stats()
    assert (stats.predictions, stats.class_counts) == (25, [])
    assert device.stop() == 0
    windows = [r for r in device.records(Lane.METRIC) if isinstance(r, ProfileRecord)]
    assert sum(window.profile.rows for window in windows) == 25
    assert all(window.profile.counts == [] for window in windows)
    assert sum(sum(w.profile.latency.values()) for w in windows) == 25


def test_it_runs_in_shadow_beside_a_classifier(tmp_path: Path) -> None:
    """Samples that do not fit its inputs are its errors, and reach no request."""
    device = Device(tmp_path)
    put_pump_release(device.store, 3)
    device.try_out(3)
    device.start()
    try:
        x = np.zeros((100, 6), np.float32)
        assert device.client.infer("s1", x).release == 1
    finally:
        device.kill()


def test_the_self_test_compares_every_output(tmp_path: Path) -> None:
    """Golden outputs by name pass, and wrong ones are named."""
    device = Device(tmp_path)
    put_pump_release(device.store, 3)
    put_pump_release(device.store, 4, shift=0.5)
    good, bad = (
        spawn_self_test(device.state, number, interrupted=lambda: False)
        for number in (3, 4)
    )
    assert good is not None
    assert bad is not None
    assert good.ok
    assert good.latency_us > 0
    assert (bad.ok, bad.code) == (False, "AGENT-UPDATE-041")
    assert "off by 0.5" in bad.detail
