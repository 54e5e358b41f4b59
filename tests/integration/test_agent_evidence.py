"""The ring in the whole agent: status, doctor, the command, and a bad ring on disk."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.errors import WorkerError
from edge_agent.evidence.memory import BAD_FILE, RING_FILE, SET_ASIDE
from edge_agent.serve.client import Client
from edge_agent.wire.records import EventRecord
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


@pytest.fixture
def port() -> int:
    """Return a free port for the broker."""
    return free_port()


@pytest.fixture
def repository() -> TufRepository:
    """Return an empty repository."""
    return TufRepository()


@pytest.fixture
def agent(tmp_path: Path, port: int, repository: TufRepository) -> Iterator[Agent]:
    """Return an agent that is not started yet."""
    made = Agent(tmp_path / "agent", port, repository.root_versions[0])
    yield made
    made.stop(signal.SIGKILL)


@pytest.fixture
def hub(tmp_path: Path, port: int) -> Iterator[AgentHub]:
    """Return a hub on a running broker."""
    with running_broker(tmp_path / "broker", port):
        made = AgentHub(port, DEVICE)
        yield made
        made.close()


def _kept(agent: Agent) -> int:
    with Client(agent.folder / "state" / "agent.sock") as client:
        try:
            return client.evidence().kept
        except WorkerError:
            return -1


def test_a_ring_outlives_the_worker_and_is_shown_and_cleared(
    agent: Agent, hub: AgentHub, repository: TufRepository
) -> None:
    """`status`, `doctor` and `evidence` say what is kept, which outlives the worker."""
    made = make_release(repository, 1)
    agent.start()
    with artifact_server(made.artifacts) as (url, _):
        roll_out(hub, repository, made, 1, url)
        wait_for(lambda: _kept(agent) >= 10, "samples in the ring")
    shown = json.loads(agent.ask("evidence", "show", "--json").stdout)
    assert shown["keep"] == "memory"
    assert shown["kept"] >= 10
    with Client(agent.folder / "state" / "agent.sock") as client:
        worker = client.status().pid
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: _kept(agent) >= 0, "the next worker")
    assert _kept(agent) >= shown["kept"]
    lines = agent.ask("status").stdout.splitlines()
    assert [line for line in lines if line.startswith("evidence     ")]
    findings = agent.ask("doctor").stdout
    assert "ok    evidence: " in findings
    cleared = json.loads(agent.ask("evidence", "clear", "--json").stdout)
    assert cleared["kept"] < shown["kept"]
    assert not (agent.folder / "state" / RING_FILE).exists()


def test_a_damaged_ring_on_disk_is_set_aside_and_the_hub_is_told(
    agent: Agent, hub: AgentHub
) -> None:
    """The agent starts all the same, with a fresh ring, and says what it did."""
    state = agent.folder / "state"
    state.mkdir()
    (state / RING_FILE).write_bytes(b"not a ring")
    agent.config.write_text(agent.config.read_text() + '[evidence]\nkeep = "disk"\n')
    agent.start()

    def told() -> list[EventRecord]:
        lanes = (Lane.ALERT, Lane.STATE, Lane.METRIC)
        records = [one for lane in lanes for one in hub.model.records(lane)]
        events = [one for one in records if isinstance(one, EventRecord)]
        return [one for one in events if one.code == SET_ASIDE]

    wait_for(lambda: bool(told()), "the event")
    assert "evidence.ring was set aside as evidence.ring.bad" in told()[0].text
    assert (state / BAD_FILE).read_bytes() == b"not a ring"
    wait_for(lambda: _kept(agent) == 0, "the worker")
    assert "set aside" in agent.ask("evidence", "show").stdout
    assert agent.events("evidence.problem")
