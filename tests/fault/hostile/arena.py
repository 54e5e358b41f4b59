"""A whole hub to attack: home, mosquitto with mutual TLS, ``hub serve`` as a process.

The home is made once and copied, so that a hub which an attempt has ruined is replaced
by a new one within seconds. Ports stay the same.
"""

import os
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from edge_agent.base.tls import client_context
from hub.config import Home, IngestConfig
from hub.service import Services, open_services
from tests.fault.hostile.books import Books
from tests.fault.hostile.honest import HonestDevice
from tests.fault.hostile.web import Web
from tests.hub_broker import free_port, is_listening
from tests.hub_bundle import make_bundle
from tests.mtls import Rig, keep_local, run_broker

WAIT_S = 30.0
"""For everything that a process does: the machine may have other things to do."""
POLL_S = 0.05
DESCRIPTORS = 512
"""Of the hub: few enough that a test may use them all up."""
DAY_BYTES = 16 << 20
"""What a device may have kept of a day."""
CONFIG = """
tick_s = 0.1
[broker]
port = {broker}
tls.enabled = true
[api]
port = {api}
tls = true
public_url = "https://localhost:{api}"
[monitor]
for_s = 0.0
[retrain]
min_samples = 1
[rollout]
stages = [1.0]
"""
QUOTA = "[ingest]\ndevice_day_bytes = {bytes}\n"
MIB = 1 << 20
PRLIMIT = shutil.which("prlimit") or "prlimit"


def wait_for(done: Callable[[], bool], what: str, limit_s: float = WAIT_S) -> None:
    """Wait until something is so; an assertion fails if it never is."""
    deadline = time.monotonic() + limit_s
    while not done():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(POLL_S)


def hub_command(home: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run a command of the hub to its end."""
    return subprocess.run(
        [sys.executable, "-m", "hub", "--home", str(home), *words],
        capture_output=True,
        text=True,
        timeout=2 * WAIT_S,
        check=False,
    )


class Arena:
    """A hub under attack, and the honest devices of its fleet."""

    def __init__(self, folder: Path, devices: int) -> None:
        """Make the home that every hub of this arena begins with."""
        self.folder, self._count = folder, devices
        self.home = Home(folder / "home")
        self.broker_folder, self._template = folder / "broker", folder / "template"
        self.port, self._api = free_port(), free_port()
        self._make_template(folder / "bundle")
        self.honest: list[HonestDevice] = []
        self.hubs = 0
        self._stack = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self.services: Services

    def _make_template(self, bundle: Path) -> None:
        done = hub_command(self.home.path, "init", "--no-passphrase")
        assert done.returncode == 0, done.stderr
        text = CONFIG.format(broker=self.port, api=self._api)
        if "device_day_bytes" in IngestConfig.__struct_fields__:
            text += QUOTA.format(bytes=DAY_BYTES)
        self.home.config_file.write_text(text, "utf-8")
        services = open_services(self.home)
        release = services.releases.take_in(make_bundle(bundle))
        services.releases.publish(release)
        services.engine.dispose()
        shutil.move(self.home.path, self._template)

    def __enter__(self) -> Self:
        """Start the first hub."""
        self.begin()
        return self

    def __exit__(self, *_: object) -> None:
        """End whatever runs."""
        self.end()

    def begin(self) -> None:
        """Start broker, hub and honest devices in a new copy of the home."""
        for old in (self.home.path, self.broker_folder):
            shutil.rmtree(old, ignore_errors=True)
        shutil.copytree(self._template, self.home.path)
        to, port = str(self.broker_folder), str(self.port)
        done = hub_command(self.home.path, "broker", "config", "--to", to)
        assert done.returncode == 0, done.stderr
        keep_local(self.broker_folder, int(port))
        self._stack = ExitStack()
        self._stack.enter_context(run_broker(self.broker_folder, self.port))
        self.services = open_services(self.home)
        self._stack.callback(self.services.engine.dispose)
        self.start_hub()
        self.rig = Rig(self.services, self.broker_folder, self.port, self.folder)
        context = self._stack.callback
        self.honest = []
        for number in range(self._count):
            name = f"honest-{number}"
            device = HonestDevice(name, self.port, self.rig.enrol(name))
            context(device.close)
            self.honest.append(device)
        for device in self.honest:
            device.heartbeat(self.books)
            device.beat()

    def end(self) -> None:
        """End the hub, the broker and all devices."""
        self.stop_hub()
        self._stack.close()

    def start_hub(self) -> None:
        """Start ``hub serve`` with few file descriptors and wait until it answers."""
        self.hubs += 1
        limit = f"--nofile={DESCRIPTORS}:{DESCRIPTORS}"
        words = [sys.executable, "-m", "hub", "--home", str(self.home.path), "serve"]
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                [PRLIMIT, limit, *words],
                stdout=out,
                stderr=out,
                env=os.environ | {"PYTHONFAULTHANDLER": "1"},
            )
        wait_for(lambda: not self.alive or is_listening(self._api), "the hub's port")
        wait_for(lambda: not self.alive or self.web.healthy(), "a healthy hub")
        assert self.alive, self.last_words()

    def stop_hub(self) -> None:
        """Ask the hub to end, as a service manager does."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(WAIT_S)

    @property
    def alive(self) -> bool:
        """Whether the process that :meth:`start_hub` started still runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> Path:
        """Where the hub's output goes."""
        return self.home.path.parent / "hub.log"

    @property
    def books(self) -> Books:
        """What the hub has in its database."""
        return Books(self.home.path / "hub.db")

    @property
    def web(self) -> Web:
        """The hub's HTTP server."""
        return Web(self._api, self.trust())

    def trust(self) -> ssl.SSLContext:
        """Return a context that trusts the hub's authority and shows nothing."""
        return client_context(str(self.home.ca_file))

    def last_words(self) -> str:
        """Return the end of the hub's log."""
        lines = self.log.read_text("utf-8", "replace").splitlines()
        return "\n".join(line[:300] for line in lines[-12:])

    def rss_mib(self) -> float:
        """Return the hub's resident memory."""
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text("ascii")
        kib = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(kib.split()[1]) / 1024

    def disk_mib(self) -> float:
        """Return what database, write-ahead log and log files take."""
        files = [self.log, *self.home.path.glob("hub.db*")]
        return sum(file.stat().st_size for file in files if file.exists()) / MIB

    def broker_mib(self) -> float:
        """Return what the broker keeps on disk."""
        files = (self.broker_folder / "data").glob("*")
        return sum(file.stat().st_size for file in files) / MIB
