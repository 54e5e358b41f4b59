"""A device that was away while the world moved on finds its way back by itself."""

import json
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edge_agent.config import OutboxConfig
from edge_agent.store.outbox import Outbox
from edge_agent.wire.records import UpdateRecord
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

SHORT = timedelta(seconds=12)
"""How long the first metadata is valid: a month, as far as the device can tell."""


@pytest.fixture
def repository() -> TufRepository:
    """Return a repository whose metadata soon expires."""
    made = TufRepository()
    made.expires = datetime.now(UTC) + SHORT
    return made


@pytest.fixture
def port() -> int:
    """Return a port for both brokers."""
    return free_port()


@pytest.fixture
def agent(tmp_path: Path, port: int, repository: TufRepository) -> Iterator[Agent]:
    """Return an agent that is not started yet."""
    made = Agent(tmp_path / "agent", port, repository.root_versions[0])
    yield made
    made.stop(signal.SIGKILL)


def ended(hub: AgentHub) -> list[tuple[int, str]]:
    """Return the ends of activations that the hub heard of."""
    return [
        (record.release, record.outcome)
        for record in hub.model.records(Lane.STATE)
        if isinstance(record, UpdateRecord) and record.outcome
    ]


def held(agent: Agent) -> int:
    """Return how many metrics wait in the outbox."""
    outbox = Outbox(agent.database, "", OutboxConfig())
    waiting = outbox.stats()[Lane.METRIC].pending
    outbox.close()
    return waiting


def answering(agent: Agent) -> int:
    """Return the release that answers."""
    return int(json.loads(agent.ask("status", "--json").stdout)["answering"])


@pytest.mark.timeout(120)
def test_it_works_with_expired_metadata_and_then_catches_up(
    tmp_path: Path, port: int, agent: Agent, repository: TufRepository
) -> None:
    """Offline it infers and buffers; back, it skips to the newest release at once.

    Meanwhile its metadata expired, the online key changed twice, three releases came,
    and the broker lost its memory.
    """
    first = make_release(repository, 1)
    with running_broker(tmp_path / "first", port):
        hub = AgentHub(port, DEVICE)
        with artifact_server(first.artifacts) as (url, _):
            agent.start()
            roll_out(hub, repository, first, 1, url)
            wait_for(lambda: ended(hub) == [(1, "committed")], "release 1")
        agent.stop()
        hub.close()

    agent.start()
    wait_for(lambda: datetime.now(UTC) > repository.expires, "the expiry")
    before = held(agent)
    wait_for(lambda: held(agent) > before, "telemetry in the outbox")
    assert answering(agent) == 1

    repository.expires = datetime.now(UTC) + timedelta(days=30)
    for _ in range(2):
        repository.rotate_online_key()
    made = [make_release(repository, number) for number in (2, 3, 4)]
    with running_broker(tmp_path / "second", port):
        hub = AgentHub(port, DEVICE)
        with artifact_server(made[-1].artifacts) as (url, _):
            roll_out(hub, repository, made[-1], 9, url)
            wait_for(lambda: ended(hub), "the way back", timeout_s=60)
            wait_for(lambda: answering(agent) == 4, "release 4")
            wait_for(lambda: held(agent) < 5, "an empty outbox")
        hub.close()

    assert ended(hub) == [(4, "committed")]
    assert len(hub.model.records(Lane.METRIC)) > before
