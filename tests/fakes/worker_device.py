"""A device of one worker process, for tests: state folder, releases, and their end."""

import hashlib
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edge_agent.child import worker_command, worker_environment
from edge_agent.config import OutboxConfig
from edge_agent.engine import Engine
from edge_agent.errors import WorkerError
from edge_agent.evidence.memory import EvidenceMemory
from edge_agent.pipeline.rows import channel_values
from edge_agent.serve.client import Client
from edge_agent.sketch.reference import build_reference
from edge_agent.store.artifacts import ArtifactStore
from edge_agent.store.db import DB_FILE
from edge_agent.store.outbox import Outbox
from edge_agent.store.slots import Slots, SlotStore
from edge_agent.wire.batch import decode_record
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
)
from edge_agent.wire.profile import Channel, ReferenceProfile, Source
from edge_agent.wire.records import AnyRecord
from edge_agent.wire.topics import Lane

DATA = Path(__file__).parents[1] / "data"
BOOT = "00112233aabbccdd"
LABELS = [f"move {n}" for n in range(7)]
DEADLINE_S = 20.0
CHANNELS = [
    Channel(name="class", source=Source.CLASS, categories=LABELS),
    Channel(name="confidence", source=Source.CONFIDENCE),
    Channel(name="mean x", source=Source.INPUT_MEAN, index=0),
    Channel(name="e0", source=Source.OUTPUT, tensor="embedding", index=0),
    Channel(name="energy", source=Source.OUTPUT, tensor="energy"),
]
CONFIG = f"""
fallback = "{LABELS[3]}"
[device]
id = "wearer-1"
[trust]
root = "root.json"
[outbox]
batch_s = 0.2
[profile]
window_rows = 20
[consent]
name = "study-1"
expires_at = 2100-01-01T00:00:00Z
max_samples = 3
"""


def samples(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return samples of shape ``(count, 100, 6)``, the same at every call."""
    return np.random.default_rng(5).normal(size=(count, 100, 6)).astype(np.float32)


def _put(store: ArtifactStore, name: str, data: bytes) -> FileRef:
    sha256 = hashlib.sha256(data).hexdigest()
    store.path(sha256).write_bytes(data)
    return FileRef(name=name, sha256=sha256, bytes=len(data))


def _reference(model: bytes) -> ReferenceProfile:
    engine = Engine(model, labels=LABELS)
    rows = [channel_values(CHANNELS, engine.predict(sample)) for sample in samples(64)]
    return build_reference("tiny", CHANNELS, np.stack(rows))


def _release(store: ArtifactStore, number: int, model_file: str) -> None:
    """Put a verified release where the update side would have put it."""
    model = (DATA / model_file).read_bytes()
    contract = InputContract(
        tensor=TensorContract(name="x", shape=[100, 6]), low=-50.0, high=50.0, hop=20
    )
    bundle = Bundle(
        name="tiny",
        task="watch",
        variant="float",
        input=contract,
        outputs=[
            TensorContract(name="probabilities", shape=[7]),
            TensorContract(name="embedding", shape=[8]),
            TensorContract(name="energy", shape=[1]),
        ],
        labels=LABELS,
        model=_put(store, "model.tflite", model),
        reference=_put(store, "reference.json", encode(_reference(model))),
        golden=_put(store, "golden.npz", b"golden"),
        calibration=_put(store, "calibration.npz", b"calibration"),
        card=_put(store, "card.md", b"card"),
        gate=GateReport(ok=True),
        provenance=Provenance(created_at=0.0),
    )
    release = Release(release=number, created_at=0.0, bundle=bundle)
    store.write_release(number, encode(release))


def _assignment(release: int, ratio: float) -> Assignment:
    return Assignment(
        device="wearer-1",
        seq=2,
        release=release,
        target="t",
        rollout="r",
        issued_at=1.0,
        artifacts_url="",
        shadow=ShadowPolicy(sample_ratio=ratio),
    )


class Device:
    """A state folder and its worker process."""

    def __init__(self, folder: Path) -> None:
        """Make releases 1 and 2; release 1 is active."""
        self.folder = folder
        self.state = folder / "state"
        self.store = ArtifactStore(self.state)
        self.config = folder / "agent.toml"
        self.config.write_text(CONFIG)
        _release(self.store, 1, "tiny.tflite")
        _release(self.store, 2, "tiny-int8.tflite")
        self.assign(active=1)
        self.process: subprocess.Popen[bytes] | None = None
        self.evidence: EvidenceMemory | None = None
        """What the worker is given as its ring; none: not even a word of it."""
        self.client = Client(self.state / "agent.sock", 10.0)

    def assign(self, *, active: int, previous: int = 0) -> None:
        """Write the slot row."""
        self._write(Slots(active=active, previous=previous))

    def try_out(self, release: int, ratio: float = 1.0) -> None:
        """Write a slot row in which a release runs in shadow beside release 1."""
        assignment = _assignment(release, ratio)
        self._write(
            Slots(active=1, candidate=release, phase="SHADOW", assignment=assignment)
        )

    def swap(self, release: int, previous: int, ratio: float = 1.0) -> None:
        """Write a slot row in which a release was activated and committed."""
        assignment = _assignment(release, ratio)
        self._write(Slots(active=release, previous=previous, assignment=assignment))

    def _write(self, row: Slots) -> None:
        slots = SlotStore(self.state / DB_FILE, BOOT, OutboxConfig())
        slots.write(row)
        slots.close()

    def start(self, *within: str) -> None:
        """Start the worker, as an argument of ``within``; wait until it answers."""
        ring = self.evidence
        self.process = subprocess.Popen(
            [*within, *worker_command(self.config, BOOT, ring)],
            env=worker_environment(),
            stdin=subprocess.PIPE,
            pass_fds=ring.fds if ring is not None else (),
        )
        wait_for(self._answers)

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, "worker died at start"
        try:
            return bool(self.client.status().boot)
        except WorkerError:
            return False

    def stop(self) -> int:
        """End the worker as the supervisor does; return its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.end()

    def end(self) -> int:
        """Wait for the worker's end."""
        assert self.process is not None
        assert self.process.stdin is not None
        code = self.process.wait(DEADLINE_S)
        self.process.stdin.close()
        self.client.close()
        return code

    def kill(self) -> None:
        """End the worker at once, whatever it does."""
        self.client.close()
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()

    def records(self, lane: Lane) -> list[AnyRecord]:
        """Return what is in the outbox."""
        outbox = Outbox(self.state / DB_FILE, BOOT, OutboxConfig())
        rows = outbox.read(BOOT, lane, 0, max_records=10_000, max_bytes=1 << 30)
        outbox.close()
        assert [seq for seq, _ in rows] == list(range(1, len(rows) + 1))
        return [decode_record(body) for _, body in rows]


def wait_for(holds: Callable[[], bool]) -> None:
    """Wait until something holds, or fail at the deadline."""
    pause = threading.Event()
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        pause.wait(0.05)
