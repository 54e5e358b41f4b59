"""The agent as a process of its own, with a folder, a config and a replay source."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.fakes.agent_hub import AgentHub
from tests.fakes.releases import MadeRelease, assign
from tests.fakes.tuf_repository import TufRepository

DEVICE = "d1"
CONFIG = """
[device]
id = "d1"
labels = {{ cohort = "right" }}
[trust]
root = "root.json"
[broker]
port = {port}
[outbox]
batch_s = 0.2
resend_after_s = 2.0
[profile]
window_rows = 20
window_s = 2.0
[source]
kind = "replay"
path = "samples.npz"
rate = 100.0
[health]
period_s = 0.5
"""


class Agent:
    """An agent process in a folder of its own."""

    def __init__(
        self,
        folder: Path,
        port: int,
        root: bytes,
        program: tuple[str, ...] = (sys.executable, "-m", "edge_agent"),
    ) -> None:
        """Write its files; nothing runs yet."""
        self._program = program
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.config = folder / "agent.toml"
        self.config.write_text(CONFIG.format(port=port))
        (folder / "root.json").write_bytes(root)
        rng = np.random.default_rng(1)
        np.savez(folder / "samples.npz", a=rng.normal(size=(400, 6)).astype("f4"))
        self.log = folder / "log.txt"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def database(self) -> Path:
        """Path of its database."""
        return self.folder / "state" / "agent.db"

    def start(self) -> None:
        """Start the process."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command("run"), stdin=subprocess.DEVNULL, stderr=log
            )

    def command(self, *words: str) -> list[str]:
        """Return a command line of the agent's CLI."""
        return [*self._program, *words, "--config", str(self.config)]

    def ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the CLI to its end."""
        return subprocess.run(
            self.command(*words), capture_output=True, text=True, check=False
        )

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Signal the process and return its exit status."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(20)
        self.process = None
        return status

    def events(self, name: str) -> list[dict[str, object]]:
        """Return the logged events of a name."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [event for event in found if event["event"] == name]


def roll_out(
    hub: AgentHub, repository: TufRepository, made: MadeRelease, seq: int, url: str
) -> None:
    """Publish metadata and an assignment."""
    hub.metadata(repository.bundle())
    hub.desire(repository.assign(assign(made, DEVICE, seq, url)))
