"""A broker that forgets everything gets it back from the hub."""

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from edge_agent.base.clock import SystemClock
from edge_agent.wire import codec
from edge_agent.wire.control import Assignment, TufBundle
from edge_agent.wire.envelope import Envelope
from hub.config import Home
from hub.home import create_home
from hub.service import open_services
from hub.storage import devices
from hub.storage.db import transaction
from tests.fakes.agent_hub import running_broker, wait_for
from tests.hub_broker import free_port
from tests.hub_bundle import make_bundle
from tests.integration.test_hub_service_broker import Device

NAMES = ("d1", "d2")


def make_home(folder: Path, port: int) -> Home:
    """Return a home with a release that two devices are assigned."""
    home = Home(folder / "home")
    create_home(home, SystemClock())
    home.config_file.write_text(
        f"tick_s = 0.05\n[broker]\nport = {port}\n[api]\nport = {free_port()}\n",
        "utf-8",
    )
    services = open_services(home)
    release = services.releases.take_in(make_bundle(folder / "bundle"))
    services.releases.publish(release)
    with transaction(services.engine) as conn:
        for name in NAMES:
            devices.touch(conn, name, 1.0)
    for name in NAMES:
        services.devices.assign(name, release, "r1")
    services.engine.dispose()
    return home


def has_all(device: Device, name: str) -> bool:
    """Tell whether a device has got its assignment and the metadata."""
    return {f"shoal/v1/{name}/desired", "shoal/v1/hub/tuf"} <= device.retained.keys()


def test_a_device_that_comes_after_the_broker_forgot_gets_all(tmp_path: Path) -> None:
    """Desired state and metadata are retained again after a restart without a disk."""
    port = free_port()
    home = make_home(tmp_path, port)
    words = [sys.executable, "-m", "hub", "--home", str(home.path), "serve"]
    with ExitStack() as ends:
        process = subprocess.Popen(words)
        ends.callback(process.wait, 20)
        ends.callback(process.terminate)
        with running_broker(tmp_path / "first", port):
            early = Device(port, "d1")
            wait_for(lambda: has_all(early, "d1"), "the first device's state")
            early.close()
        with running_broker(tmp_path / "second", port):
            late = Device(port, "d2")
            wait_for(lambda: has_all(late, "d2"), "the second device's state")
            late.close()

    envelope = codec.decode(late.retained["shoal/v1/d2/desired"], Envelope)
    assignment = codec.decode(envelope.payload.encode(), Assignment)
    bundle = codec.decode(late.retained["shoal/v1/hub/tuf"], TufBundle, limit=4 << 20)
    assert (assignment.device, assignment.seq, assignment.release) == ("d2", 1, 1)
    assert "timestamp.json" in bundle.files
