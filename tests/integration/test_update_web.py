"""Metadata over HTTP for a device to which the broker brings none."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.errors import UpdateError
from edge_agent.update.download import InterruptedDownloadError, Ways
from edge_agent.update.web import MAX_BUNDLE_BYTES, WebError, fetch_bundle
from edge_agent.wire.codec import encode
from edge_agent.wire.records import UpdateRecord
from edge_agent.wire.topics import Lane
from tests.fakes.agent_hub import (
    AgentHub,
    artifact_server,
    dripping_server,
    free_port,
    running_broker,
    wait_for,
)
from tests.fakes.agent_process import DEVICE, Agent
from tests.fakes.releases import assign, make_release
from tests.fakes.tuf_repository import TufRepository

NAME = "bundle.json"


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


def outcomes(hub: AgentHub) -> list[tuple[int, str]]:
    """Return the ends of activations that the hub heard of."""
    return [
        (record.release, record.outcome)
        for record in hub.model.records(Lane.STATE)
        if isinstance(record, UpdateRecord) and record.outcome
    ]


def test_metadata_comes_over_http_where_the_broker_has_none(
    agent: Agent, hub: AgentHub, repository: TufRepository
) -> None:
    """An assignment without a bundle is carried out all the same."""
    made = make_release(repository, 1)
    blobs = dict(made.artifacts)
    blobs[NAME] = encode(repository.bundle())
    with artifact_server(blobs) as (url, _):
        agent.start()
        hub.desire(repository.assign(assign(made, DEVICE, 1, url)))
        wait_for(lambda: outcomes(hub), "the end of the activation")

        checked = agent.ask("update", "check", "--url", url, "--json")

    assert outcomes(hub) == [(1, "committed")]
    assert len(agent.events("update.metadata_fetched")) == 1
    wait_for(lambda: hub.reported[-1].tuf.timestamp == 1, "the twin")
    said = json.loads(checked.stdout)
    assert (said["newest"], said["assigned"], said["is_new"]) == (1, 1, False)


def test_what_the_server_sends_is_trusted_no_more_than_the_broker(
    agent: Agent, hub: AgentHub, repository: TufRepository
) -> None:
    """Another hub's metadata is refused; the right one is waited for, and helps."""
    made = make_release(repository, 1)
    other = TufRepository()
    make_release(other, 1)
    blobs = dict(made.artifacts)
    blobs[NAME] = encode(other.bundle())
    with artifact_server(blobs) as (url, asked):
        agent.start()
        hub.desire(repository.assign(assign(made, DEVICE, 1, url)))
        wait_for(lambda: asked, "the question for metadata")
        checked = agent.ask("update", "check", "--url", url)
        hub.metadata(repository.bundle())
        wait_for(lambda: outcomes(hub), "the end of the activation")

    assert (checked.returncode, "AGENT-UPDATE-012" in checked.stderr) == (7, True)
    assert outcomes(hub) == [(1, "committed")]
    refusals = [str(e["error"]) for e in agent.events("update.metadata_refused")]
    assert refusals[0].startswith("AGENT-UPDATE-012")


@pytest.mark.parametrize(
    ("served", "code"),
    [
        ({NAME: b"[1]"}, "AGENT-UPDATE-014"),
        ({NAME: b" " * (MAX_BUNDLE_BYTES + 1)}, "AGENT-UPDATE-096"),
        ({}, "AGENT-UPDATE-096"),
    ],
    ids=["no bundle", "too much", "not there"],
)
def test_a_bad_answer_has_its_code(served: dict[str, bytes], code: str) -> None:
    """Nothing but a bundle within the wire's limit is taken."""
    with (
        artifact_server(served) as (url, _),
        pytest.raises(UpdateError, match=code),
    ):
        fetch_bundle(url, Ways(interrupted=lambda: False))


def test_metadata_that_drips_holds_nobody() -> None:
    """Every byte is an occasion to turn to something more urgent, or to give up."""
    asked: list[int] = []

    def urgent() -> bool:
        asked.append(1)
        return len(asked) == 3

    with dripping_server(b" " * 100) as url, pytest.raises(InterruptedDownloadError):
        fetch_bundle(url, Ways(interrupted=urgent))


def test_a_fetch_can_be_interrupted_and_a_server_be_away() -> None:
    """Something more urgent ends it; nobody there is said with the exit code 8."""
    with (
        artifact_server({NAME: b" " * 100_000}) as (url, _),
        pytest.raises(InterruptedDownloadError),
    ):
        fetch_bundle(url, Ways(interrupted=lambda: True))
    with pytest.raises(WebError) as caught:
        fetch_bundle(f"http://127.0.0.1:{free_port()}", Ways(interrupted=lambda: False))

    assert caught.value.exit_code == 8
