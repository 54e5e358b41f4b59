"""Sources and sinks in a real worker process, beside its API."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_agent.errors import SampleRejectedError
from tests.fakes.worker_device import LABELS, Device, samples, wait_for

FLOWS = """
[[sources]]
kind = "folder"
path = "in"
settle_s = 0.1
[[sources]]
kind = "csv"
name = "imu"
path = "imu.csv"
rate = 2000.0
[[sinks]]
kind = "command"
argv = ["/bin/sh", "-c", "cat >> said"]
rule = {{ confidence = 0.0, windows = 2, cooldown_s = 0.0, labels = {labels} }}
"""


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    """A device whose worker is ended with the test."""
    made = Device(tmp_path)
    (tmp_path / "in").mkdir()
    yield made
    made.kill()


def _configure(device: Device, text: str) -> None:
    with device.config.open("a") as file:
        file.write(text)


def test_several_sources_and_a_sink_work_beside_the_api(device: Device) -> None:
    """All are inferred, counted by source, and told to the sink."""
    script = str(device.folder / "said")
    flows = FLOWS.format(labels=LABELS).replace("cat >> said", f"cat >> {script}")
    _configure(device, flows)
    rows = samples(2).reshape(200, 6)
    np.savetxt(device.folder / "imu.csv", rows, delimiter=",")
    np.savez(device.folder / "in" / "a.npz", a=samples(3))
    (device.folder / "in" / "b.csv").write_text("no,numbers\nat,all\n")
    device.start()
    device.client.infer("pushed", samples(1)[0])
    wait_for(lambda: device.client.status().sources[0].files_done == 1)
    wait_for(lambda: device.client.status().sources[0].files_failed == 1)
    wait_for(lambda: device.client.status().sources[1].done > 5)
    wait_for(lambda: device.client.status().sinks[0].done > 0)
    status = device.client.status()
    assert [(one.name, one.kind) for one in status.sources] == [
        ("folder", "folder"),
        ("imu", "csv"),
    ]
    assert status.sources[0].done == 3
    assert status.sinks[0].kind == "command"
    recent = {one.sample_id for one in device.client.recent(0, 1000)}
    assert {"pushed", "a.npz/a@2", "imu@0#0"} <= recent
    assert device.stop() == 0
    assert '"stream":"' in Path(script).read_text()


def test_a_source_that_cannot_work_is_named_and_harms_nobody(device: Device) -> None:
    """A missing file, a broker that is not there: the API answers as before."""
    _configure(
        device,
        '[[sources]]\nkind = "csv"\npath = "none.csv"\n'
        '[[sources]]\nkind = "mqtt"\ntopic = "a"\nbroker = { port = 1 }\n'
        '[[sources]]\nkind = "camera"\ndevice = "none.avi"\n',
    )
    device.start()
    wait_for(lambda: all(one.problem for one in device.client.status().sources))
    assert device.client.infer("s", samples(1)[0]).served_by == "active"
    with pytest.raises(SampleRejectedError):
        device.client.infer("s", samples(1)[0][:5])
    assert "none.csv" in device.client.status().source_problem
    assert device.stop() == 0
