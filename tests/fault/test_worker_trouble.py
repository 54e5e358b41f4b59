"""The worker killed, stopped, hung, out of memory and crashing, under load.

A real agent runs releases 1 (good) and 2 (``spiteful.tflite``: it passes every check
and does harm on some samples), while three applications ask without a pause.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge_agent.errors import WorkerError
from edge_agent.runtime.trial import must_be_tried
from edge_agent.serve.client import Client
from edge_agent.serve.protocol import Prediction
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
from tests.fakes.local_load import TIMEOUT_S, LocalLoad
from tests.fakes.releases import MODEL, make_release, samples
from tests.fakes.tuf_repository import TufRepository

SPITEFUL = MODEL.with_name("spiteful.tflite")
LOOPS, HOARDS, TRAPS = 120.0, 450.0, -200.0
FATAL_HERE = (HOARDS,) if must_be_tried() else ()
"""What LiteRT survives and the older runtime does not."""
LIMITS = "[worker]\nwatchdog_s = 0.5\nmemory_bytes = 419430400\n"
LATE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A device that serves release 2, with release 1 behind it."""

    agent: Agent
    hub: AgentHub

    @property
    def socket(self) -> Path:
        """Where it serves."""
        return self.agent.folder / "state" / "agent.sock"

    @property
    def pids(self) -> list[int]:
        """Its workers so far."""
        return [int(str(e["pid"])) for e in self.agent.events("worker.started")]

    def heard(self, code: str) -> bool:
        """Tell whether the hub heard of an event."""
        events = self.hub.model.records(Lane.ALERT)
        return any(isinstance(e, EventRecord) and e.code == code for e in events)

    def outcomes(self) -> list[tuple[int, str, str]]:
        """Return the ends of activations that the hub heard of."""
        records = self.hub.model.records(Lane.STATE)
        updates = [r for r in records if isinstance(r, UpdateRecord) and r.outcome]
        return [(u.release, u.outcome, u.code) for u in updates]

    def spite(self, value: float) -> Prediction | None:
        """Send a sample that does harm; the connection may end before an answer."""
        sample = samples(1)[0]
        sample[0, 0] = value
        with Client(self.socket, TIMEOUT_S) as client:
            try:
                return client.infer("spite", sample)
            except WorkerError:
                return None


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """Run the device until release 2 is committed."""
    repository, port = TufRepository(), free_port()
    agent = Agent(tmp_path / "agent", port, repository.root_versions[0])
    with agent.config.open("a") as file:
        file.write(LIMITS)
    good = make_release(repository, 1)
    bad = make_release(repository, 2, source=SPITEFUL)
    with contextlib.ExitStack() as stack:
        stack.enter_context(running_broker(tmp_path / "broker", port))
        blobs = good.artifacts | bad.artifacts
        url, _ = stack.enter_context(artifact_server(blobs))
        hub = AgentHub(port, DEVICE)
        stack.callback(hub.close)
        stack.callback(lambda: agent.stop(signal.SIGKILL))
        made = Scene(agent=agent, hub=hub)
        agent.start()
        for seq, release in enumerate((good, bad), start=1):
            roll_out(hub, repository, release, seq, url)
            wait_for(lambda n=seq: len(made.outcomes()) == n, "a release")  # type: ignore[misc]
        wait_for(lambda: hub.reported[-1].phase == "IDLE", "rest")
        assert [end[1] for end in made.outcomes()] == ["committed"] * 2
        yield made


def _settle(load: LocalLoad, served_by: str, release: int) -> None:
    """Wait until many more answers come from where they should."""
    before = load.served(served_by, release)
    wait_for(
        lambda: load.served(served_by, release) > before + 50,
        f"answers of {release}",
        timeout_s=LATE_S,
    )


def _check_errors(load: LocalLoad) -> None:
    assert set(load.errors) <= {"AGENT-WORKER-001"}
    assert load.not_retryable == []
    # A call ends at its deadline; the rest is what a loaded machine needs to notice.
    assert load.longest_s < TIMEOUT_S + 5


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_is_killed_or_stopped_is_replaced(
    scene: Scene, number: signal.Signals
) -> None:
    """Applications get a retryable error, then answers again; the hub hears why."""
    code = {signal.SIGKILL: "AGENT-WORKER-002", signal.SIGSTOP: "AGENT-WORKER-014"}
    with LocalLoad(scene.socket) as load:
        _settle(load, "active", 2)
        pid = scene.pids[-1]
        os.kill(pid, number)
        wait_for(lambda: scene.pids[-1] != pid, "a new worker", timeout_s=LATE_S)
        _settle(load, "active", 2)
    wait_for(lambda: scene.heard(code[number]), "the event")
    _check_errors(load)
    assert load.errors
    assert scene.agent.process is not None
    assert scene.agent.process.poll() is None


def test_a_model_that_hangs_is_stood_in_for_until_the_worker_is_replaced(
    scene: Scene,
) -> None:
    """The release before answers meanwhile; then the worker is killed and started."""
    with LocalLoad(scene.socket) as load:
        _settle(load, "active", 2)
        pid = scene.pids[-1]
        answer = scene.spite(LOOPS)
        wait_for(lambda: scene.pids[-1] != pid, "a new worker", timeout_s=LATE_S)
        _settle(load, "active", 2)
    assert answer is None or (answer.served_by, answer.release) == ("previous", 1)
    assert load.served("previous", 1)
    wait_for(lambda: scene.heard("AGENT-WORKER-014"), "the event")
    _check_errors(load)


def test_a_model_out_of_memory_fails_its_request_only(scene: Scene) -> None:
    """The release before answers; worker and device go on.

    The older runtime dies of it: then it is a death like any other, and the next test
    has what follows from two of them.
    """
    with LocalLoad(scene.socket) as load:
        _settle(load, "active", 2)
        pid = scene.pids[-1]
        answers = [scene.spite(HOARDS) for _ in range(1 if must_be_tried() else 5)]
        if must_be_tried():
            wait_for(lambda: scene.pids[-1] != pid, "a new worker", timeout_s=LATE_S)
        _settle(load, "active", 2)
    if must_be_tried():
        assert answers == [None]
        _check_errors(load)
        return
    assert [a and (a.served_by, a.release) for a in answers] == [("previous", 1)] * 5
    assert scene.pids[-1] == pid
    assert not load.errors


@pytest.mark.parametrize("value", [TRAPS, LOOPS, *FATAL_HERE])
def test_a_model_that_takes_the_worker_down_again_and_again_is_rolled_back(
    scene: Scene, value: float
) -> None:
    """Two deaths or hangs soon after its activation, and the release before serves."""
    with LocalLoad(scene.socket) as load:
        for _ in range(2):
            _settle(load, "active", 2)
            pid = scene.pids[-1]
            scene.spite(value)
            wait_for(
                lambda pid=pid: scene.pids[-1] != pid,  # type: ignore[misc]
                "a new worker",
                timeout_s=LATE_S,
            )
        _settle(load, "active", 1)
    wait_for(lambda: len(scene.outcomes()) == 3, "the rollback")
    assert scene.outcomes()[2] == (2, "rolled_back", "AGENT-UPDATE-062")
    wait_for(lambda: scene.hub.reported[-1].release == 1, "release 1 in the twin")
    _check_errors(load)
