"""Resident memory of a running agent's two processes, with a release activated.

The agent runs in an environment of its own, from the lock file of a device: what is
installed decides what its libraries import (httpx imports rich where it finds it).
"""

import statistics
import subprocess
import venv
from pathlib import Path

from edge_agent.wire.records import HealthRecord
from edge_agent.wire.topics import Lane
from tests.fakes.agent_hub import (
    AgentHub,
    artifact_server,
    free_port,
    running_broker,
    wait_for,
)
from tests.fakes.agent_process import DEVICE, Agent, roll_out
from tests.fakes.releases import make_release
from tests.fakes.tuf_repository import TufRepository
from tests.perf.report import Metric

MIB = 1 << 20
SETTLED = 10
"""Heartbeats to wait for after the activation."""
ROOT = Path(__file__).parents[2]


def measure(folder: Path) -> list[Metric]:
    """Return the median over heartbeats after an update over HTTP."""
    repository, port = TufRepository(), free_port()
    made = make_release(repository, 1)
    program = (str(install_agent(folder / "env")),)
    agent = Agent(folder / "agent", port, repository.root_versions[0], program)
    with (
        running_broker(folder / "broker", port),
        artifact_server(made.artifacts) as (url, _),
    ):
        hub = AgentHub(port, DEVICE)
        agent.start()
        try:
            roll_out(hub, repository, made, 1, url)
            wait_for(lambda: len(_settled(hub)) >= SETTLED, "heartbeats", timeout_s=60)
        finally:
            agent.stop()
            hub.close()
    found = _settled(hub)
    return [
        Metric(
            name="supervisor_rss",
            value=statistics.median(h.rss_supervisor_bytes for h in found) / MIB,
            unit="MiB",
            at_most=40,
        ),
        Metric(
            name="worker_rss",
            value=statistics.median(h.rss_worker_bytes for h in found) / MIB,
            unit="MiB",
        ),
    ]


def install_agent(folder: Path) -> Path:
    """Install the agent as on a device; return its program."""
    venv.create(folder, with_pip=True)
    pip = (folder / "bin" / "python", "-m", "pip", "install", "--quiet")
    locked = ROOT / "configs" / "locks" / "agent.txt"
    subprocess.run((*pip, "--require-hashes", "-r", locked), check=True)
    subprocess.run((*pip, "--no-deps", ROOT), check=True)
    return folder / "bin" / "edge-agent"


def _settled(hub: AgentHub) -> list[HealthRecord]:
    """Return the heartbeats since the release answers."""
    records = hub.model.records(Lane.METRIC)
    return [r for r in records if isinstance(r, HealthRecord) and r.predictions]
