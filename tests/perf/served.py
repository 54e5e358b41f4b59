"""A worker process that serves one of the measured models, as a device would."""

import compileall
import hashlib
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import edge_agent
from edge_agent.child import worker_command, worker_environment
from edge_agent.engine import Engine
from edge_agent.errors import WorkerError
from edge_agent.pipeline.rows import channel_values
from edge_agent.serve.client import Client
from edge_agent.sketch.choice import choose_channels
from edge_agent.sketch.reference import build_reference
from edge_agent.store.artifacts import ArtifactStore
from edge_agent.store.db import DB_FILE
from edge_agent.store.slots import Slots, SlotStore
from edge_agent.wire.codec import encode
from edge_agent.wire.control import Assignment, ShadowPolicy
from edge_agent.wire.manifest import (
    Bundle,
    FileRef,
    GateReport,
    InputContract,
    Provenance,
    Release,
    TensorContract,
    release_target,
)
from edge_agent.wire.profile import ReferenceProfile
from tests.fakes.agent_hub import free_port, wait_for
from tests.perf.processes import rss_bytes

BOOT = "00112233aabbccdd"
CONFIG = """\
[device]
id = "bench-1"
[trust]
root = "root.json"
[api]
http = "127.0.0.1:{port}"
"""
Sample = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A running worker: its sockets, its HTTP port, its process."""

    name: str
    socket: Path
    http_socket: Path
    port: int
    pid: int
    started: float
    """When its process was started, on the monotonic clock."""

    @property
    def rss_bytes(self) -> int:
        """Resident memory of the worker."""
        return rss_bytes(self.pid)


def samples(shape: tuple[int, ...], count: int) -> Sample:
    """Return samples of shape ``(count, *shape)``, the same at every call."""
    return np.random.default_rng(5).normal(size=(count, *shape)).astype(np.float32)


@contextmanager
def serving(
    folder: Path, name: str, model: Path, *, shadow_ratio: float = 0.0
) -> Iterator[Served]:
    """Serve a model as release 1; with a ratio, again as release 2 in its shadow."""
    state, port = folder / "state", free_port()
    store = ArtifactStore(state)
    config = folder / "agent.toml"
    config.write_text(CONFIG.format(port=port), "utf-8")
    for release in (1, 2) if shadow_ratio else (1,):
        _put_release(store, name, release, model.read_bytes() + bytes(release))
    slots = SlotStore(state / DB_FILE, BOOT)
    slots.write(_shadowed(name, shadow_ratio) if shadow_ratio else Slots(active=1))
    slots.close()
    _compile_agent()
    started = time.monotonic()
    worker = subprocess.Popen(
        worker_command(config, BOOT), env=worker_environment(), stdin=subprocess.PIPE
    )
    served = Served(
        name=name,
        socket=state / "agent.sock",
        http_socket=state / "http.sock",
        port=port,
        pid=worker.pid,
        started=started,
    )
    try:
        wait_for(lambda: _answers(served.socket), "the worker")
        yield served
    finally:
        worker.terminate()
        worker.communicate()


def _compile_agent() -> None:
    """Have the agent's bytecode, as an installed one has: compiling costs memory."""
    for folder in edge_agent.__path__:
        compileall.compile_dir(folder, quiet=2)


def _answers(path: Path) -> bool:
    with Client(path) as client:
        try:
            return client.status().release == 1
        except WorkerError:
            return False


def _shadowed(name: str, ratio: float) -> Slots:
    assignment = Assignment(
        device="bench-1",
        seq=1,
        release=2,
        target=release_target(name, 2),
        rollout="bench",
        issued_at=0.0,
        artifacts_url="",
        shadow=ShadowPolicy(sample_ratio=ratio),
    )
    return Slots(active=1, candidate=2, seq=1, phase="SHADOW", assignment=assignment)


def _put_release(store: ArtifactStore, name: str, number: int, data: bytes) -> None:
    engine = Engine(data)
    shape = engine.inputs[0].shape
    contract = InputContract(tensor=TensorContract(name="x", shape=list(shape)))
    outputs = [
        TensorContract(name=one.name, shape=list(one.shape)) for one in engine.outputs
    ]
    bundle = Bundle(
        name=name.replace("_", "-"),
        task="bench",
        variant="int8",
        input=contract,
        outputs=outputs,
        labels=list(engine.labels),
        model=_put(store, "model.tflite", data),
        reference=_put(
            store, "reference.json", encode(_reference(engine, contract, outputs))
        ),
        golden=_put(store, "golden.npz", b"golden"),
        calibration=_put(store, "calibration.npz", b"calibration"),
        card=_put(store, "card.md", b"card"),
        gate=GateReport(ok=True),
        provenance=Provenance(created_at=0.0),
    )
    release = Release(release=number, created_at=0.0, bundle=bundle)
    store.write_release(number, encode(release))


def _reference(
    engine: Engine, contract: InputContract, outputs: list[TensorContract]
) -> ReferenceProfile:
    channels = choose_channels([contract], outputs, engine.labels)
    made = [engine.predict(one) for one in samples(engine.inputs[0].shape, 64)]
    rows = np.stack([channel_values(channels, one) for one in made])
    return build_reference("bench", channels, rows)


def _put(store: ArtifactStore, name: str, data: bytes) -> FileRef:
    sha256 = hashlib.sha256(data).hexdigest()
    store.path(sha256).write_bytes(data)
    return FileRef(name=name, sha256=sha256, bytes=len(data))
