"""Artifacts through a real broker, for devices that reach nothing else."""

import hashlib
import json
import random
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_agent.base.clock import SystemClock
from edge_agent.config import BrokerConfig
from edge_agent.errors import UpdateError
from edge_agent.link.blocks import BlockLink
from edge_agent.link.mqtt import MqttLink
from edge_agent.link.port import Received
from edge_agent.store.artifacts import ArtifactStore
from edge_agent.update.download import InterruptedDownloadError, Ways, fetch_artifact
from edge_agent.wire import topics
from edge_agent.wire.manifest import FileRef
from edge_agent.wire.records import UpdateRecord
from edge_agent.wire.topics import Address, Lane, Leaf
from hub.blocks import BlockServer
from hub.config import BrokerConfig as HubBrokerConfig
from hub.link import HubLink
from tests.fakes.agent_hub import AgentHub, free_port, running_broker, wait_for
from tests.fakes.agent_process import DEVICE, Agent, roll_out
from tests.fakes.releases import make_release
from tests.fakes.tuf_repository import TufRepository

CONTENT = random.Random(7).randbytes((1 << 20) + 77)
FILE = FileRef(
    name="m.tflite",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    bytes=len(CONTENT),
)


@contextmanager
def serving(port: int, folder: Path) -> Iterator[BlockServer]:
    """Serve the files of a folder as ``hub serve`` does, without HTTP."""
    stop = threading.Event()
    servers: list[BlockServer] = []

    def take(address: Address, payload: bytes) -> None:
        if address.kind is Leaf.BLOCK_GET:
            servers[0].offer(address.device, payload)

    link = HubLink(
        HubBrokerConfig(port=port), on_batch=None, on_control=take, on_up=lambda: None
    )
    servers.append(BlockServer(folder, link.send_through, SystemClock()))
    thread = threading.Thread(target=servers[0].run, args=(stop,))
    link.start()
    assert link.wait_up(10)
    thread.start()
    try:
        yield servers[0]
    finally:
        stop.set()
        thread.join(10)
        link.stop()


@contextmanager
def device(port: int) -> Iterator[BlockLink]:
    """Connect the device's own link, and hand in what comes."""
    topic = topics.leaf(DEVICE, Leaf.BLOCK_DATA)
    link = MqttLink(
        DEVICE,
        BrokerConfig(port=port),
        subscriptions=[topic],
        will=(topics.leaf(DEVICE, Leaf.PRESENCE), b"{}"),
    )
    blocks, stop = BlockLink(DEVICE, link), threading.Event()

    def receive() -> None:
        while not stop.is_set():
            event = link.poll(0.1)
            if isinstance(event, Received):
                blocks.deliver(event.payload)

    threads = [threading.Thread(target=body) for body in (link.run, receive)]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: link.connected, "the session")
        yield blocks
    finally:
        stop.set()
        link.stop()
        for thread in threads:
            thread.join(10)


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """Run a broker."""
    port = free_port()
    with running_broker(tmp_path / "broker", port):
        yield port


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    """Return an empty store of a device."""
    return ArtifactStore(tmp_path / "device")


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Return the hub's folder with one artifact."""
    folder = tmp_path / "artifacts"
    folder.mkdir()
    (folder / FILE.sha256).write_bytes(CONTENT)
    return folder


def never() -> bool:
    """Interrupt nothing."""
    return False


def after(calls: int) -> Callable[[], bool]:
    """Interrupt at a call."""
    left = iter(range(calls))
    return lambda: next(left, None) is None


def test_what_http_cannot_bring_comes_through_the_broker(
    port: int, published: Path, store: ArtifactStore
) -> None:
    """HTTP is tried first; then the whole file comes in blocks."""
    nobody = f"http://127.0.0.1:{free_port()}"
    with serving(port, published) as server, device(port) as blocks:
        ways = Ways(interrupted=never, blocks=blocks)

        assert fetch_artifact(nobody, FILE, store, ways)

    assert store.path(FILE.sha256).read_bytes() == CONTENT
    assert server.stats.blocks == 17


def test_an_interrupted_transfer_goes_on_where_it_was(
    port: int, published: Path, store: ArtifactStore
) -> None:
    """With new sessions of device and hub, only what is missing is sent."""
    with (
        serving(port, published),
        device(port) as blocks,
        pytest.raises(InterruptedDownloadError),
    ):
        fetch_artifact("", FILE, store, Ways(interrupted=after(6), blocks=blocks))
    had = store.part_path(FILE.sha256).stat().st_size
    assert 0 < had < len(CONTENT)

    with serving(port, published) as server, device(port) as blocks:
        fetch_artifact("", FILE, store, Ways(interrupted=never, blocks=blocks))

    assert store.path(FILE.sha256).read_bytes() == CONTENT
    assert server.stats.blocks <= -(-(len(CONTENT) - had) // (64 << 10))


def test_an_artifact_that_no_release_has_is_refused_with_a_reason(
    port: int, tmp_path: Path, store: ArtifactStore
) -> None:
    """The hub answers instead of being silent; the device may try again later."""
    empty = tmp_path / "empty"
    empty.mkdir()
    with (
        serving(port, empty),
        device(port) as blocks,
        pytest.raises(UpdateError, match="HUB-BLOCK-001") as caught,
    ):
        fetch_artifact("", FILE, store, Ways(interrupted=never, blocks=blocks))

    assert caught.value.retryable


def test_a_release_is_activated_by_a_device_that_reaches_only_the_broker(
    port: int, tmp_path: Path
) -> None:
    """The real agent updates with the hub's HTTP port closed."""
    repository = TufRepository()
    made = make_release(repository, 1)
    folder = tmp_path / "artifacts"
    folder.mkdir()
    for sha256, data in made.artifacts.items():
        (folder / sha256).write_bytes(data)
    agent = Agent(tmp_path / "agent", port, repository.root_versions[0])
    hub = AgentHub(port, DEVICE)
    try:
        with serving(port, folder):
            agent.start()
            nobody = f"http://127.0.0.1:{free_port()}"
            roll_out(hub, repository, made, 1, nobody)
            wait_for(
                lambda: [
                    r.outcome
                    for r in hub.model.records(Lane.STATE)
                    if isinstance(r, UpdateRecord) and r.outcome
                ],
                "the end of the activation",
                timeout_s=60,
            )
            status = json.loads(agent.ask("status", "--json").stdout)
    finally:
        agent.stop(signal.SIGTERM)
        hub.close()

    assert status["answering"] == 1
    ways = [event["through_broker"] for event in agent.events("artifact.fetched")]
    assert ways
    assert all(ways)
    assert len(agent.events("artifact.no_http")) == 1
