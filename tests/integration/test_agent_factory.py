"""The factory model on a device: before the hub, after a failure, and in SAFE_MODE."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_agent.errors import AgentError
from edge_agent.serve.client import Client
from edge_agent.store.slots import Slots, SlotStore
from edge_agent.wire.records import EventRecord, UpdateRecord
from edge_agent.wire.topics import Lane
from tests.fakes.agent_hub import (
    AgentHub,
    artifact_server,
    free_port,
    running_broker,
    wait_for,
)
from tests.fakes.agent_process import DEVICE, Agent
from tests.fakes.releases import (
    MODEL,
    assign,
    make_release,
    samples,
    write_bundle,
)
from tests.fakes.tuf_repository import TufRepository

FAILING = MODEL.parent / "paired" / "failing.tflite"


class Shipped:
    """An agent whose image has a factory model."""

    def __init__(
        self, folder: Path, *, source: Path = MODEL, golden_shift: float = 0.0
    ) -> None:
        """Write it; a shift makes its self-test fail."""
        self.repository = TufRepository()
        self.port = free_port()
        root = self.repository.root_versions[0]
        self.agent = Agent(folder / "agent", self.port, root)
        made = make_release(
            TufRepository(), 1, source=source, golden_shift=golden_shift
        )
        write_bundle(folder / "agent" / "factory", made)
        config = self.agent.config
        config.write_text(config.read_text() + '[factory]\nbundle = "factory"\n')

    def served_by(self) -> tuple[str, int]:
        """Ask for a prediction; return who answered ("": nobody does)."""
        with Client(self.agent.folder / "state" / "agent.sock", 10.0) as client:
            try:
                made = client.infer("s", samples(1)[0])
            except AgentError:
                return "", 0
            return made.served_by, made.release


@pytest.fixture
def shipped(tmp_path: Path) -> Iterator[Shipped]:
    """Return a device that is not started."""
    made = Shipped(tmp_path)
    yield made
    made.agent.stop(signal.SIGKILL)


def outcomes(hub: AgentHub) -> list[tuple[int, str, str]]:
    """Return the ends of activations that the hub heard of."""
    return [
        (record.release, record.outcome, record.code)
        for record in hub.model.records(Lane.STATE)
        if isinstance(record, UpdateRecord) and record.outcome
    ]


def test_device_without_a_hub_answers_at_once(shipped: Shipped) -> None:
    """No broker, no release: the model that came with the device answers."""
    shipped.agent.start()

    wait_for(lambda: shipped.served_by() == ("factory", 0), "the factory model")

    assert len(shipped.agent.events("factory.passed")) == 1
    status = json.loads(shipped.agent.ask("status", "--json").stdout)
    assert (status["answering"], len(status["sha256"])) == (0, 64)
    assert "factory model" in shipped.agent.ask("status").stdout
    assert shipped.agent.stop() == 0
    shipped.agent.start()
    wait_for(lambda: shipped.served_by() == ("factory", 0), "it again")
    assert len(shipped.agent.events("factory.passed")) == 1, "it passed before"


def test_failed_first_release_goes_back_to_it(tmp_path: Path) -> None:
    """The way back of a first release is the factory model, not SAFE_MODE."""
    rows = np.full((400, 6), 7.0, np.float32)  # the release fails on such
    shipped = Shipped(tmp_path)
    np.savez(shipped.agent.folder / "samples.npz", a=rows)
    bad = make_release(shipped.repository, 1, source=FAILING)
    with (
        running_broker(tmp_path / "broker", shipped.port),
        artifact_server(bad.artifacts) as (url, _),
    ):
        hub = AgentHub(shipped.port, DEVICE)
        shipped.agent.start()
        wait_for(lambda: hub.reported and hub.reported[-1].sha256, "its digest")
        with Client(shipped.agent.folder / "state" / "agent.sock") as client:
            wait_for(lambda: client.stats().predictions >= 30, "a baseline")
        assert (hub.reported[-1].release, hub.reported[-1].phase) == (0, "IDLE")
        wait_for(lambda: shipped.agent.events("link.up"), "the link")
        hub.metadata(shipped.repository.bundle())
        hub.desire(shipped.repository.assign(assign(bad, DEVICE, 1, url)))
        wait_for(lambda: outcomes(hub), "the end")
        wait_for(
            lambda: hub.reported[-1].phase == "IDLE" and hub.reported[-1].sha256, "rest"
        )

        assert outcomes(hub) == [(1, "rolled_back", "AGENT-UPDATE-050")]
        assert (hub.reported[-1].release, hub.reported[-1].quarantined) == (0, [1])
        assert shipped.served_by() == ("factory", 0)
        shipped.agent.stop(signal.SIGKILL)
        hub.close()


def test_device_in_safe_mode_tries_it_at_each_start(shipped: Shipped) -> None:
    """What put a device into SAFE_MODE may be over: its image may have a new model."""
    (shipped.agent.folder / "state").mkdir(parents=True)
    shipped.agent.start()
    wait_for(lambda: shipped.served_by() == ("factory", 0), "the factory model")
    shipped.agent.stop()
    slots = SlotStore(shipped.agent.database, "ab" * 8)
    slots.write(Slots(phase="SAFE_MODE", quarantined=(1,), seq=1))
    slots.close()

    shipped.agent.start()

    def phase() -> str:
        store = SlotStore(shipped.agent.database)
        try:
            return store.read().phase
        finally:
            store.close()

    wait_for(lambda: phase() == "IDLE", "the end of SAFE_MODE")
    wait_for(lambda: shipped.served_by() == ("factory", 0), "the factory model")


def test_bad_factory_model_is_told(tmp_path: Path) -> None:
    """One that fails its self-test answers nobody, and the operator hears of it."""
    shipped = Shipped(tmp_path, golden_shift=0.5)
    with running_broker(tmp_path / "broker", shipped.port):
        hub = AgentHub(shipped.port, DEVICE)
        try:
            shipped.agent.start()
            wait_for(
                lambda: any(
                    isinstance(record, EventRecord)
                    and record.code == "AGENT-UPDATE-080"
                    and "AGENT-UPDATE-041" in record.text
                    for record in hub.model.records(Lane.ALERT)
                ),
                "the event",
            )
            assert shipped.served_by() == ("", 0)
            assert not hub.reported[-1].sha256
        finally:
            shipped.agent.stop(signal.SIGKILL)
            hub.close()
