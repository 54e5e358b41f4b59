"""A hub process whose system's clock jumps, while it runs and across a restart."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.base.clock import SystemClock
from hub.config import Home
from hub.home import create_home
from tests.fakes.agent_hub import free_port, wait_for

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
CONFIG = "tick_s = 0.1\n[broker]\nport = {broker}\n[api]\nport = {api}\n"


class FakedHub:
    """A hub under libfaketime; the steady clock stays the machine's."""

    def __init__(self, folder: Path) -> None:
        """Make a home at the right time."""
        self.home, self.time = folder / "home", folder / "time.txt"
        self.log = folder / "log.txt"
        self.env = {
            **os.environ,
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self.time),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        self.set("+0")
        create_home(Home(self.home), SystemClock())
        config = CONFIG.format(broker=free_port(), api=free_port())
        (self.home / "hub.toml").write_text(config, "utf-8")

    def set(self, to: str) -> None:
        """Set the clock: an offset, in one step."""
        part = self.time.with_suffix(".part")
        part.write_text(to + "\n", "ascii")
        part.replace(self.time)

    def command(self, *words: str) -> list[str]:
        """Return a command line of the hub."""
        return [sys.executable, "-m", "hub", "--home", str(self.home), *words]

    def run(self, *words: str) -> str:
        """Run a command to its end."""
        done = subprocess.run(
            self.command(*words), env=self.env, check=True, capture_output=True
        )
        return done.stdout.decode()

    def serve(self) -> subprocess.Popen[bytes]:
        """Start the hub."""
        with self.log.open("ab") as log:
            return subprocess.Popen(self.command("serve"), env=self.env, stderr=log)

    def count(self, event: str) -> int:
        """Count the log lines of an event."""
        return self.log.read_text("utf-8").count(f'"{event}"')


@pytest.mark.skipif(
    LIBRARY is None or shutil.which("faketime") is None, reason="needs libfaketime"
)
@pytest.mark.timeout(180)
def test_a_hub_in_2040_holds_until_a_person_accepts(tmp_path: Path) -> None:
    """While it runs and after it was killed; one command, and it goes on."""
    hub = FakedHub(tmp_path)
    before = (hub.home / "tuf" / "timestamp.json").read_bytes()
    process = hub.serve()
    try:
        wait_for((hub.home / "clock.json").exists, "a kept reading", timeout_s=60)
        hub.set("+5000d")
        wait_for(lambda: hub.count("clock.held") == 1, "the hold", timeout_s=60)
        process.kill()
        process.wait(30)
        process = hub.serve()
        wait_for(lambda: hub.count("clock.held") == 2, "the hold", timeout_s=60)
        assert json.loads(hub.run("clock", "show", "--json"))["trusted"] is False
        assert (hub.home / "tuf" / "timestamp.json").read_bytes() == before
        hub.run("clock", "accept")
        wait_for(lambda: hub.count("clock.trusted") == 1, "the trust", timeout_s=60)
    finally:
        process.kill()
        process.wait(30)
