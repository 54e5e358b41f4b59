"""A real worker on a board that is too hot: what it leaves out, and in which order."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_agent.heartbeat import WorkerPort
from edge_agent.serve.protocol import SheddingReply
from edge_agent.wire.records import EventRecord
from edge_agent.wire.topics import Lane
from tests.fakes.worker_device import Device, samples, wait_for

ON_BOARD = (
    "unshare",
    "--map-root-user",
    "--mount",
    "sh",
    "-c",
    'mount --bind "$1" /sys/class/thermal && shift && exec "$@"',
    "sh",
)
FLOWS = """
[[sources]]
kind = "folder"
path = "in"
settle_s = 0.1
[[sources]]
kind = "csv"
path = "imu.csv"
rate = 500.0
"""


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    """A device with a shadow, a folder and a sensor, whose board can be heated."""
    made = Device(tmp_path)
    with made.config.open("a") as file:
        file.write(FLOWS)
    (tmp_path / "in").mkdir()
    np.savetxt(tmp_path / "imu.csv", samples(4).reshape(400, 6), delimiter=",")
    (tmp_path / "board" / "thermal_zone0").mkdir(parents=True)
    made.try_out(2)
    yield made
    made.kill()


def _heat(device: Device, celsius: int) -> None:
    zone = device.folder / "board" / "thermal_zone0" / "temp"
    zone.write_text(f"{celsius}000\n")


def _shedding(device: Device) -> SheddingReply:
    return device.client.stats().shedding


@pytest.mark.timeout(150)
def test_shadow_files_and_samples_are_left_out_in_this_order(device: Device) -> None:
    """Each as long as it is not the next one's turn; requests are always answered."""
    _heat(device, 40)
    device.start(*ON_BOARD, str(device.folder / "board"))
    wait_for(lambda: device.client.shadow().ready)
    device.client.infer("cool", samples(1)[0])
    wait_for(lambda: device.client.shadow().summary.n > 0)
    assert _shedding(device).left_out == {}

    _heat(device, 90)
    wait_for(lambda: _shedding(device).level == "shadow")
    port = WorkerPort(device.state / "agent.sock")
    assert port.figures().sheds
    port.close()
    tried = device.client.shadow().summary.n
    np.savez(device.folder / "in" / "first.npz", a=samples(2))
    wait_for((device.folder / "in" / "done" / "first.npz").exists)
    wait_for(lambda: _shedding(device).left_out["shadow"] > 2)
    # One may have been under way.
    assert device.client.shadow().summary.n <= tried + 1
    assert _shedding(device).left_out.keys() == {"shadow"}

    wait_for(lambda: _shedding(device).level == "bulk")
    np.savez(device.folder / "in" / "second.npz", a=samples(2))
    wait_for(lambda: _shedding(device).left_out.get("bulk", 0) > 0)
    assert _shedding(device).left_out.keys() == {"shadow", "bulk"}

    wait_for(lambda: _shedding(device).level == "samples")
    wait_for(lambda: _shedding(device).left_out.get("samples", 0) > 3)
    folder, sensor = device.client.status().sources
    before = sensor.done
    wait_for(lambda: device.client.status().sources[1].done > before)
    assert (folder.done, folder.failed) == (2, 0)
    assert device.client.infer("hot", samples(1)[0]).served_by == "active"
    shed = _shedding(device)
    assert shed.celsius == pytest.approx(90.0)
    assert device.stop() == 0
    events = [e for e in device.records(Lane.ALERT) if isinstance(e, EventRecord)]
    assert [e.facts["level"] for e in events] == ["shadow", "bulk", "samples"]
