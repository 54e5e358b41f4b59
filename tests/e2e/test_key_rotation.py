"""A hub, a broker and a device go on through a change of keys and back to a release."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.base.clock import SystemClock
from hub.config import Home
from hub.home import create_home
from hub.releases.ceremony import NewKeys
from hub.service import Services, open_services
from tests.fakes.agent_hub import wait_for
from tests.fakes.agent_process import Agent
from tests.hub_broker import free_port, mosquitto
from tests.hub_bundle import make_bundle
from tests.hub_keys import PASSPHRASE

CONFIG = """
tick_s = 0.1
[broker]
port = {broker}
[api]
port = {api}
[rollout]
stages = [1.0]
soak_s = 0.5
probation_min_predictions = 10
probation_min_s = 0.3
shadow_deadline_s = 5.0
stage_deadline_s = 1.0
promote_untested = true
"""
"""The device's sensor shows one class: of two releases it can prove nothing."""


class Site:
    """One hub process, its services for looking, and a device."""

    def __init__(self, folder: Path, broker: int) -> None:
        """Make a home with two releases, offline keys elsewhere, and start both."""
        self.folder = folder
        self.usb = folder / "usb"
        self.home = Home(folder / "home")
        new = NewKeys(folder=self.usb, passphrase=PASSPHRASE)
        create_home(self.home, SystemClock(), new)
        (folder / "words").write_bytes(PASSPHRASE)
        text = CONFIG.format(broker=broker, api=free_port())
        self.home.config_file.write_text(text, "utf-8")
        self.services: Services = open_services(self.home)
        for seed in (1, 2):
            bundle = make_bundle(folder / f"bundle{seed}", seed=seed)
            releases = self.services.releases
            releases.publish(releases.take_in(bundle))
        self.agent = Agent(folder / "agent", broker, self.home.root_file.read_bytes())
        self.hub = subprocess.Popen(
            [sys.executable, "-m", "hub", "--home", str(self.home.path), "serve"],
            stderr=subprocess.DEVNULL,
        )
        self.agent.start()

    def close(self) -> None:
        """End both processes."""
        self.agent.stop()
        self.hub.send_signal(signal.SIGTERM)
        self.hub.wait(20)
        self.services.engine.dispose()

    def hub_command(self, *words: str) -> None:
        """Run ``hub`` with the offline keys, as a person does."""
        argv = [sys.executable, "-m", "hub", "--home", str(self.home.path), *words]
        argv += ["--offline-keys", str(self.usb)]
        argv += ["--passphrase-file", str(self.folder / "words")]
        subprocess.run(argv, check=True, capture_output=True)

    def roll_out(self, release: int) -> None:
        """Roll a release out and wait until the device runs it."""
        name = self.services.rollouts.start(release)

        def is_done() -> bool:
            return self.services.rollouts.get(name)[0].state.value == "COMPLETED"

        wait_for(is_done, f"release {release}", timeout_s=90)
        status = json.loads(self.agent.ask("status", "--json").stdout)
        assert status["answering"] == release

    def root_seen(self) -> int:
        """Return the version of root that the device reports."""
        reported = self.services.devices.get("d1")[0].reported
        return reported.tuf.root if reported else 0


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Run a broker, a hub and a device."""
    with mosquitto(tmp_path) as broker:
        made = Site(tmp_path, broker)
        yield made
        made.close()


@pytest.mark.timeout(400)
def test_a_fleet_follows_its_hub_through_every_rotation(site: Site) -> None:
    """Root changes hands, so do the others; releases go on, and back, in between."""
    wait_for(site.services.devices.list_devices, "the device", timeout_s=60)
    site.roll_out(1)

    site.hub_command("keys", "rotate", "online")
    wait_for(lambda: site.root_seen() == 2, "root 2 on the device", timeout_s=60)
    site.roll_out(2)

    for role in ("root", "targets", "models", "online"):
        site.hub_command("keys", "rotate", role)
    site.agent.stop(signal.SIGKILL)
    site.agent.start()
    wait_for(lambda: site.root_seen() == 5, "root 5 on the device", timeout_s=60)
    site.roll_out(1)

    desired = site.services.devices.get("d1")[1]
    assert desired is not None
    assert desired.seq == 3
    assert len(site.agent.events("hub.key_changed")) == 2
