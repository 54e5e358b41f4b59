"""The agent process against a real broker, with and without it, with real models."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_agent.config import OutboxConfig
from edge_agent.serve.client import Client
from edge_agent.store.outbox import Outbox
from edge_agent.store.slots import SlotStore
from edge_agent.update.probation import MIN_BASELINE
from edge_agent.wire.control import CollectSamples, Command
from edge_agent.wire.records import EventRecord, UpdateRecord
from edge_agent.wire.topics import Lane
from tests.fakes.agent_hub import (
    AgentHub,
    artifact_server,
    free_port,
    running_broker,
    wait_for,
)
from tests.fakes.agent_process import DEVICE, Agent, roll_out
from tests.fakes.releases import MODEL, assign, make_release
from tests.fakes.tuf_repository import TufRepository

FAILING = MODEL.parent / "paired" / "failing.tflite"


@pytest.fixture
def repository() -> TufRepository:
    """Return an empty repository."""
    return TufRepository()


@pytest.fixture
def port() -> int:
    """Return a free port for the broker."""
    return free_port()


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


def outcomes(hub: AgentHub) -> list[tuple[int, str, str]]:
    """Return the ends of activations that the hub heard of."""
    updates = hub.model.records(Lane.STATE)
    return [
        (record.release, record.outcome, record.code)
        for record in updates
        if isinstance(record, UpdateRecord) and record.outcome
    ]


def predictions(agent: Agent) -> int:
    """Return how many the active release has made."""
    with Client(agent.folder / "state" / "agent.sock") as client:
        return client.stats().predictions


def test_agent_without_model_reports_itself(agent: Agent, hub: AgentHub) -> None:
    """Birth, twin and heartbeats arrive, acks empty the outbox, leaving is clean."""
    agent.start()

    wait_for(lambda: hub.presence and hub.reported, "presence and twin")
    wait_for(lambda: len(hub.model.records(Lane.METRIC)) >= 2, "heartbeats")
    assert hub.presence[-1].online
    assert hub.presence[-1].labels == {"cohort": "right"}
    assert hub.reported[-1].release == 0
    where = f"http+unix://{agent.folder / 'state' / 'http.sock'}"
    wait_for(lambda: where in (hub.reported[-1].api or []), "where it answers")
    assert f"api          {where}" in agent.ask("status").stdout.splitlines()
    assert agent.stop() == 0
    wait_for(lambda: not hub.presence[-1].online, "the farewell")
    outbox = Outbox(agent.database, "", OutboxConfig())
    assert outbox.streams() == []
    outbox.close()


def test_agent_without_broker_buffers_and_says_so_once(agent: Agent) -> None:
    """Heartbeats wait in the outbox, and the missing link is logged once."""
    agent.start()

    def pending() -> int:
        if not agent.database.exists():
            return 0
        outbox = Outbox(agent.database, "", OutboxConfig())
        waiting = outbox.stats()[Lane.METRIC].pending
        outbox.close()
        return waiting

    wait_for(lambda: pending() >= 4, "heartbeats in the outbox")
    assert agent.stop() == 0
    assert len(agent.events("link.down")) == 1


def test_what_was_buffered_is_delivered_later(
    agent: Agent, tmp_path: Path, port: int
) -> None:
    """Records of an earlier boot reach a broker that comes up later, all of them."""
    agent.start()
    wait_for(lambda: agent.events("link.down"), "the missing broker")
    outbox = Outbox(agent.database, "", OutboxConfig())
    wait_for(lambda: bool(outbox.streams()), "a record in the outbox")
    assert agent.stop() == 0
    held = {(s.boot, s.lane): s.last_seq for s in outbox.streams()}
    outbox.close()

    agent.start()
    with running_broker(tmp_path / "broker", port):
        hub = AgentHub(port, DEVICE)
        wait_for(
            lambda: all(len(hub.model.rows[key]) == n for key, n in held.items()),
            "the old boot's records",
        )
        assert agent.stop() == 0
        hub.close()


def test_second_agent_is_refused(agent: Agent) -> None:
    """A state folder has one agent; the second says who holds it and exits with 5."""
    agent.start()
    wait_for(agent.database.exists, "the first agent")

    second = agent.ask("run")

    assert second.returncode == 5
    assert "AGENT-STORE-009" in second.stderr


def test_release_is_fetched_tried_and_committed(
    agent: Agent, hub: AgentHub, repository: TufRepository
) -> None:
    """An assigned release answers requests, and is reported committed after that."""
    made = make_release(repository, 1)
    with artifact_server(made.artifacts) as (url, _):
        agent.start()
        roll_out(hub, repository, made, 1, url)
        wait_for(lambda: outcomes(hub), "the end of the activation")
        wait_for(lambda: hub.reported[-1].phase == "IDLE", "rest")

        assert outcomes(hub) == [(1, "committed", "")]
        assert hub.reported[-1].release == 1
        assert hub.reported[-1].sha256
        assert hub.reported[-1].tuf.timestamp == 1
        status = json.loads(agent.ask("status", "--json").stdout)
        keys = ("answering", "link", "running", "mqtt", "bulk_waits")
        assert [status[key] for key in keys] == [1, "up", True, "5", False]
        assert "agent speaks MQTT 5 with it" in agent.ask("doctor").stdout
        assert agent.stop() == 0


def test_metadata_may_come_after_the_assignment(
    agent: Agent, hub: AgentHub, repository: TufRepository
) -> None:
    """Topics have no order among them: the device waits for what is missing."""
    first = make_release(repository, 1)
    blobs = dict(first.artifacts)
    with artifact_server(blobs) as (url, _):
        agent.start()
        roll_out(hub, repository, first, 1, url)
        wait_for(lambda: outcomes(hub), "the first activation")
        second = make_release(repository, 2)
        blobs.update(second.artifacts)
        hub.desire(repository.assign(assign(second, DEVICE, 2, url)))
        wait_for(lambda: agent.events("update.waiting"), "the device to wait")
        hub.metadata(repository.bundle())
        wait_for(lambda: len(outcomes(hub)) == 2, "the second activation")

        assert outcomes(hub)[1] == (2, "committed", "")


def test_bad_release_leaves_the_active_one_alone(
    agent: Agent, hub: AgentHub, repository: TufRepository
) -> None:
    """A release whose golden outputs differ fails its self-test and is quarantined."""
    good = make_release(repository, 1)
    bad = make_release(repository, 2, golden_shift=0.5)
    with artifact_server(good.artifacts | bad.artifacts) as (url, _):
        agent.start()
        roll_out(hub, repository, good, 1, url)
        wait_for(lambda: outcomes(hub), "the first activation")
        roll_out(hub, repository, bad, 2, url)
        wait_for(lambda: len(outcomes(hub)) == 2, "the second activation")
        wait_for(lambda: hub.reported[-1].quarantined, "the quarantine in the twin")

        assert outcomes(hub)[1] == (2, "failed", "AGENT-UPDATE-041")
        assert hub.reported[-1].release == 1
        assert hub.reported[-1].quarantined == [2]
        roll_out(hub, repository, bad, 3, url)
        wait_for(lambda: len(outcomes(hub)) == 3, "the refusal")
        assert outcomes(hub)[2] == (2, "rejected", "AGENT-UPDATE-060")


def test_release_that_is_worse_here_is_rolled_back(
    agent: Agent, hub: AgentHub, repository: TufRepository
) -> None:
    """What passes its self-test but fails where the one before answers goes again."""
    rows = np.full((400, 6), 7.0, np.float32)  # release 2 fails on such
    np.savez(agent.folder / "samples.npz", a=rows)
    good = make_release(repository, 1)
    worse = make_release(repository, 2, source=FAILING)
    with artifact_server(good.artifacts | worse.artifacts) as (url, _):
        agent.start()
        roll_out(hub, repository, good, 1, url)
        wait_for(lambda: outcomes(hub), "the first activation")
        wait_for(lambda: predictions(agent) > 2 * MIN_BASELINE, "a baseline")
        roll_out(hub, repository, worse, 2, url)
        wait_for(lambda: len(outcomes(hub)) == 2, "the second activation")
        wait_for(lambda: hub.reported[-1].phase == "IDLE", "rest")

        assert outcomes(hub)[1] == (2, "rolled_back", "AGENT-UPDATE-050")
        assert hub.reported[-1].release == 1
        assert hub.reported[-1].quarantined == [2]


def test_command_is_carried_out_once(
    agent: Agent, hub: AgentHub, repository: TufRepository
) -> None:
    """A signed command reaches the worker; its id is never taken again."""
    agent.start()
    wait_for((agent.folder / "state" / "agent.sock").exists, "the worker")
    command = Command(
        device=DEVICE, id=3, expires_at=4e9, action=CollectSamples(max_samples=2)
    )
    for _ in range(2):
        hub.command(repository.command(command))

    wait_for(lambda: agent.events("command.done"), "the command")

    assert agent.stop() == 0
    assert len(agent.events("command.done")) == 1
    slots = SlotStore(agent.database)
    assert slots.read_number("command_id") == 3
    slots.close()


def test_dead_worker_is_back_within_a_second(
    agent: Agent, hub: AgentHub, repository: TufRepository
) -> None:
    """A killed worker is replaced, and the operator hears of it."""
    agent.start()
    wait_for(lambda: agent.events("worker.started"), "the worker")
    wait_for((agent.folder / "state" / "agent.sock").exists, "its socket")

    os.kill(int(str(agent.events("worker.started")[0]["pid"])), signal.SIGKILL)

    wait_for(lambda: len(agent.events("worker.started")) == 2, "a new one", timeout_s=5)
    wait_for(
        lambda: any(
            isinstance(r, EventRecord) and r.code == "AGENT-WORKER-002"
            for r in hub.model.records(Lane.ALERT)
        ),
        "the event",
    )


def test_torn_database_is_set_aside(
    agent: Agent, hub: AgentHub, repository: TufRepository
) -> None:
    """With a damaged database the agent starts anew, says so, and keeps its model."""
    made = make_release(repository, 1)
    with artifact_server(made.artifacts) as (url, _):
        agent.start()
        roll_out(hub, repository, made, 1, url)
        wait_for(lambda: outcomes(hub), "the activation")
        agent.stop(signal.SIGKILL)
        for suffix in ("-wal", "-shm"):
            agent.database.with_name("agent.db" + suffix).unlink(missing_ok=True)
        agent.database.write_bytes(b"not a database" * 1000)

        agent.start()
        wait_for(
            lambda: any(
                isinstance(r, EventRecord) and r.code == "AGENT-STORE-002"
                for r in hub.model.records(Lane.ALERT)
            ),
            "the event",
        )
        wait_for(lambda: hub.reported[-1].release == 1, "the model")
        slots = SlotStore(agent.database)
        assert slots.read().active == 1
        slots.close()
        assert list(agent.database.parent.glob("agent.db.corrupt-*"))
