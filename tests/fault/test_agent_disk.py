"""The whole agent on a bad disk: full, read-only, damaged; a real process each."""

import os
import resource
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.config import OutboxConfig
from edge_agent.store.outbox import Outbox
from edge_agent.store.slots import Slots, SlotStore
from edge_agent.wire.batch import decode_record
from edge_agent.wire.records import EventRecord
from edge_agent.wire.topics import Lane
from tests.fakes.agent_hub import AgentHub, free_port, running_broker, wait_for
from tests.fakes.agent_process import Agent
from tests.fakes.tuf_repository import TufRepository

ROOM_BYTES = 100_000
"""More than the agent's log, less than its database's."""


@pytest.fixture
def port() -> int:
    """Return a free port for the broker."""
    return free_port()


@pytest.fixture
def agent(tmp_path: Path, port: int) -> Iterator[Agent]:
    """Return an agent that is not started yet."""
    made = Agent(tmp_path / "agent", port, TufRepository().root_versions[0])
    yield made
    made.stop(signal.SIGKILL)


def alerts(agent: Agent) -> list[str]:
    """Return the codes of the alerts that the agent holds, oldest first."""
    outbox = Outbox(agent.database, "", OutboxConfig())
    records = [decode_record(h.body) for h in outbox.held() if h.lane is Lane.ALERT]
    outbox.close()
    return [record.code for record in records if isinstance(record, EventRecord)]


@pytest.mark.parametrize("damage", ["torn", "not a database"])
def test_a_damaged_database_is_reported_even_by_the_next_start(
    agent: Agent, damage: str
) -> None:
    """Killed right after the renaming, the agent still reports and keeps its slots."""
    agent.start()
    wait_for(agent.database.exists, "the database")
    wait_for(lambda: agent.events("link.down"), "a running agent")
    agent.stop(signal.SIGKILL)
    store = SlotStore(agent.database, "a" * 16)
    store.write(Slots(seq=7))
    store.close()
    body = agent.database.read_bytes()
    torn = body[:5000] + os.urandom(8192) + body[13192:]
    agent.database.write_bytes(torn if damage == "torn" else b"nothing" * 999)
    aside = agent.database.with_name("agent.db.corrupt-5")
    agent.database.rename(aside)  # what setting aside begins with; then it dies

    agent.start()
    wait_for(agent.database.exists, "a new database")
    wait_for(lambda: "AGENT-STORE-002" in alerts(agent), "the report")
    wait_for(lambda: len(agent.events("link.down")) == 2, "a running agent")
    assert agent.stop() == 0
    agent.start()
    wait_for(lambda: len(agent.events("link.down")) == 3, "the next start")
    assert agent.stop() == 0

    store = SlotStore(agent.database)
    assert store.read().seq == 7
    store.close()
    assert alerts(agent).count("AGENT-STORE-002") == 1


def test_a_read_only_state_folder_is_refused_at_start(tmp_path: Path) -> None:
    """The agent says what and the cure, exits with 1, and shows no traceback."""
    agent = Agent(tmp_path / "agent", 1, TufRepository().root_versions[0])
    (agent.folder / "state").mkdir()
    command = " ".join(agent.command("run"))
    script = (
        f'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && exec {command}'
    )
    words = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh"]

    done = subprocess.run(
        [*words, str(agent.folder / "state")],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.returncode == 1
    assert "AGENT-STORE-001" in done.stderr
    assert "device.state_dir" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_disk_is_survived_and_reported_with_counts(
    agent: Agent, tmp_path: Path, port: int
) -> None:
    """No file may grow for a while: the agent stays, says so once, and tells later."""
    with running_broker(tmp_path / "broker", port):
        hub = AgentHub(port, "d1")
        agent.start()
        wait_for(lambda: len(hub.model.records(Lane.METRIC)) >= 2, "heartbeats")
        assert agent.process is not None
        limit_files(agent.process.pid, ROOM_BYTES)
        wait_for(lambda: agent.events("store.failed"), "the complaint")
        before = len(hub.model.records(Lane.METRIC))
        pause(3.0)
        assert agent.process.poll() is None
        assert len(agent.events("store.failed")) == 1
        limit_files(agent.process.pid, resource.RLIM_INFINITY)
        wait_for(
            lambda: "AGENT-STORE-010" in [e.code for e in hub_events(hub)], "the report"
        )
        wait_for(lambda: len(hub.model.records(Lane.METRIC)) > before, "heartbeats")
        facts = hub_events(hub)[-1].facts
        hub.close()
    assert int(facts["heartbeats_lost"]) >= 1
    assert len(agent.events("store.recovered")) == 1


def limit_files(pid: int, size: int) -> None:
    """Let no file of a process grow beyond a size, from now on."""
    hard = resource.RLIM_INFINITY
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))


def pause(seconds: float) -> None:
    """Let time pass in which something must not happen."""
    threading.Event().wait(seconds)


def hub_events(hub: AgentHub) -> list[EventRecord]:
    """Return the events that arrived."""
    records = hub.model.records(Lane.ALERT)
    return [record for record in records if isinstance(record, EventRecord)]
