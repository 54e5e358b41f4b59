"""Sources of a worker that serves a model with two inputs."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.serve.protocol import FlowStatus
from tests.fakes.agent_hub import free_port, running_broker
from tests.fakes.pump_release import pump_sample, put_pump_release
from tests.fakes.worker_device import Device, wait_for

ROW = "0.1,0.2,0.3,0.4,1.5\n"
FLOWS = """
[[sources]]
kind = "folder"
path = "in"
settle_s = 0.1
[[sources]]
kind = "csv"
path = "rows.csv"
rate = 500.0
length = 3
[[sources]]
kind = "replay"
path = "recorded.npz"
rate = 500.0
[[sources]]
kind = "mqtt"
topic = "pump"
broker = {{ port = {port} }}
[[sources]]
kind = "camera"
"""


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    """A device with the pump's release, not started yet."""
    made = Device(tmp_path)
    put_pump_release(made.store, 3)
    made.assign(active=3)
    (tmp_path / "in").mkdir()
    (tmp_path / "rows.csv").write_text(ROW * 4)
    yield made
    made.kill()


def _arrays(count: int) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    made = [pump_sample(seed) for seed in range(count)]
    return {name: np.stack([one[name] for one in made]) for name in made[0]}


def _of(device: Device, kind: str) -> FlowStatus:
    return next(one for one in device.client.status().sources if one.kind == kind)


def test_every_source_that_can_feeds_all_inputs(device: Device, tmp_path: Path) -> None:
    """CSV by columns, npz by arrays, messages by names; a camera says why not."""
    port = free_port()
    np.savez(tmp_path / "recorded.npz", allow_pickle=False, **_arrays(5))
    np.savez(tmp_path / "in" / "a.npz", allow_pickle=False, **_arrays(7))
    (tmp_path / "in" / "b.csv").write_text(ROW * 3 + "1,2,3,4,\n")
    (tmp_path / "in" / "c.npz").write_bytes(
        (tmp_path / "in" / "a.npz").read_bytes()[:9]
    )
    with device.config.open("a") as file:
        file.write(FLOWS.format(port=port))
    with running_broker(tmp_path / "broker", port):
        device.start()
        sensor = paho.Client(CallbackAPIVersion.VERSION2)
        sensor.connect("127.0.0.1", port)
        sensor.loop_start()
        message = json.dumps({"level": 1.5, "flow": [0.1, 0.2, 0.3, 0.4]})
        wait_for(lambda: _of(device, "csv").done > 3)
        wait_for(lambda: _of(device, "replay").done > 5)
        wait_for(lambda: _of(device, "folder").files_done == 2)
        wait_for(lambda: _of(device, "folder").files_failed == 1)
        wait_for(lambda: sensor.publish("pump", message, 1).rc == 0 and _done(device))
        sensor.loop_stop()
    folder = _of(device, "folder")
    assert (folder.done, folder.rejected) == (10, 1)
    assert _of(device, "csv").rejected == _of(device, "replay").rejected == 0
    wait_for(lambda: "AGENT-SOURCE-004" in _of(device, "camera").problem)
    assert device.client.stats().rejected_by_reason == {"not_finite": 1}
    recent = {one.sample_id for one in device.client.recent(0, 1000)}
    assert {"a.npz@6", "b.csv@2", "csv@0#0", "row@4#0"} <= recent
    assert device.stop() == 0


def _done(device: Device) -> bool:
    return _of(device, "mqtt").done > 0


def test_a_recording_without_an_input_is_named(device: Device, tmp_path: Path) -> None:
    """The source waits for a file that fits, and then plays it."""
    with device.config.open("a") as file:
        file.write('[source]\nkind = "replay"\npath = "r.npz"\nrate = 500.0\n')
    np.savez(tmp_path / "r.npz", flow=np.zeros((3, 4), np.float32))
    device.start()
    wait_for(lambda: "no array 'level'" in _of(device, "replay").problem)
    np.savez(tmp_path / "s.npz", allow_pickle=False, **_arrays(5))
    (tmp_path / "s.npz").replace(tmp_path / "r.npz")
    wait_for(lambda: _of(device, "replay").done > 5)
    assert not _of(device, "replay").problem
    assert device.stop() == 0
