"""The worker as a real process: real SQLite, real interpreter, the tiny model."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_agent.config import OutboxConfig
from edge_agent.engine import Engine
from edge_agent.errors import SampleRejectedError, WorkerError
from edge_agent.pipeline.observe import channel_values
from edge_agent.serve.client import Client
from edge_agent.sketch.reference import build_reference
from edge_agent.store.artifacts import ArtifactStore
from edge_agent.store.db import DB_FILE
from edge_agent.store.outbox import Outbox
from edge_agent.store.slots import Slots, SlotStore
from edge_agent.wire.batch import decode_record
from edge_agent.wire.codec import encode
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
from edge_agent.wire.records import (
    AnyRecord,
    FeedbackRecord,
    ProfileRecord,
    SampleRecord,
)
from edge_agent.wire.topics import Lane

DATA = Path(__file__).parents[1] / "data"
BOOT = "00112233aabbccdd"
LABELS = [f"move {n}" for n in range(7)]
DEADLINE_S = 20.0
COMMAND = [sys.executable, "-m", "edge_agent.worker"]
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


def _samples(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(5).normal(size=(count, 100, 6)).astype(np.float32)


def _put(store: ArtifactStore, name: str, data: bytes) -> FileRef:
    sha256 = hashlib.sha256(data).hexdigest()
    store.path(sha256).write_bytes(data)
    return FileRef(name=name, sha256=sha256, bytes=len(data))


def _reference(model: bytes, contract: InputContract) -> ReferenceProfile:
    engine = Engine(model, contract=contract, labels=LABELS, outputs=["probabilities"])
    bare = ReferenceProfile(
        model="tiny",
        channels=CHANNELS,
        data=build_reference("tiny", CHANNELS, np.eye(5)).data,
    )
    rows = [channel_values(bare, engine.predict(sample)) for sample in _samples(64)]
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
        reference=_put(store, "reference.json", encode(_reference(model, contract))),
        golden=_put(store, "golden.npz", b"golden"),
        calibration=_put(store, "calibration.npz", b"calibration"),
        card=_put(store, "card.md", b"card"),
        gate=GateReport(ok=True),
        provenance=Provenance(created_at=0.0),
    )
    release = Release(release=number, created_at=0.0, bundle=bundle)
    store.write_release(number, encode(release))


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
        self.client = Client(self.state / "agent.sock", 10.0)

    def assign(self, *, active: int, previous: int = 0) -> None:
        """Write the slot row."""
        slots = SlotStore(self.state / DB_FILE, BOOT, OutboxConfig())
        slots.write(Slots(active=active, previous=previous))
        slots.close()

    def start(self) -> None:
        """Start the worker and wait until it answers."""
        self.process = subprocess.Popen(
            [*COMMAND, "--config", str(self.config), "--boot", BOOT],
            stdin=subprocess.PIPE,
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


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    """A device whose worker is ended with the test."""
    made = Device(tmp_path)
    yield made
    made.client.close()
    if made.process is not None and made.process.poll() is None:
        made.process.kill()
        made.process.wait()
    if made.process is not None and made.process.stdin is not None:
        made.process.stdin.close()


def test_predictions_profiles_and_feedback_land_in_the_outbox(device: Device) -> None:
    """What is predicted is profiled, joined with its label, and committed."""
    device.start()
    made = [device.client.infer(f"s{n}", x) for n, x in enumerate(_samples(45))]
    assert {one.served_by for one in made} == {"active"}
    assert [one.number for one in made] == list(range(1, 46))
    device.client.feedback("s3", LABELS[0])
    device.client.feedback("s3", LABELS[0])
    assert len(device.client.recent(after=40)) == 5
    assert device.stop() == 0
    records = device.records(Lane.METRIC)
    profiles = [r for r in records if isinstance(r, ProfileRecord)]
    assert [p.profile.rows for p in profiles] == [20, 20, 5]
    assert {p.release for p in profiles} == {1}
    labels = [r for r in records if isinstance(r, FeedbackRecord)]
    assert [(r.sample_id, r.label, r.release) for r in labels] == [("s3", LABELS[0], 1)]
    assert labels[0].correct == (made[3].label == LABELS[0])


def test_a_bad_sample_is_counted_and_never_inferred(device: Device) -> None:
    """NaN, a wrong shape and a value out of range are refused with their reason."""
    device.start()
    good = _samples(1)[0]
    nan, wild = good.copy(), good.copy()
    nan[7, 2], wild[0, 0] = np.nan, 51.0
    for bad, reason in ((nan, "not_finite"), (good[:99], "shape"), (wild, "range")):
        with pytest.raises(SampleRejectedError) as caught:
            device.client.infer("bad", bad)
        assert caught.value.reason == reason
    stats = device.client.stats()
    assert stats.rejected_by_reason == {"not_finite": 1, "shape": 1, "range": 1}
    assert stats.predictions == stats.errors == 0
    assert device.stop() == 0
    (profile,) = device.records(Lane.METRIC)
    assert isinstance(profile, ProfileRecord)
    assert profile.profile.rows == 0
    assert profile.profile.rejected["not_finite"] == 1


def test_a_reload_under_load_fails_no_request(device: Device) -> None:
    """Swapping back and forth while requests come in loses none of them."""
    device.start()
    failures: list[Exception] = []
    done = threading.Event()
    count = 0

    def load() -> None:
        nonlocal count
        with Client(device.state / "agent.sock", 10.0) as client:
            samples = _samples(8)
            while not done.is_set():
                try:
                    client.infer(f"n{count}", samples[count % 8])
                except WorkerError as error:
                    failures.append(error)
                count += 1

    thread = threading.Thread(target=load)
    thread.start()
    try:
        for active, previous in ((2, 1), (1, 2), (2, 0), (1, 0), (2, 1)):
            seen = count
            wait_for(lambda seen=seen: count > seen + 20)  # type: ignore[misc]
            device.assign(active=active, previous=previous)
            status = device.client.reload()
            assert (status.release, status.previous) == (active, previous)
            assert not status.problem
    finally:
        done.set()
        thread.join()
    assert failures == []
    stats = device.client.stats()
    assert stats.release == 2
    assert stats.before.release == 1
    assert stats.before.predictions >= 20
    assert stats.total.predictions == count
    assert device.stop() == 0


def test_a_release_that_does_not_load_changes_nothing(device: Device) -> None:
    """A damaged artifact is named, and the release that serves goes on."""
    device.start()
    sha256 = device.store.read_release(2).bundle.model.sha256
    device.store.path(sha256).write_bytes(b"not a model")
    device.assign(active=2, previous=1)
    status = device.client.reload()
    assert status.release == 1
    assert "release 2" in status.problem
    assert device.client.infer("s", _samples(1)[0]).release == 1


def test_previous_steps_in_at_the_start(device: Device) -> None:
    """Where the active release cannot be loaded, the one before serves."""
    device.assign(active=9, previous=1)
    device.start()
    assert device.client.status().release == 1


def test_without_a_model_the_rule_answers(device: Device) -> None:
    """With an empty slot row the configured label is the answer, and says so."""
    device.assign(active=0)
    device.start()
    made = device.client.infer("s", _samples(1)[0])
    assert (made.label, made.served_by, made.release) == (LABELS[3], "rule", 0)


def test_samples_leave_only_as_agreed(device: Device) -> None:
    """Nothing before the collection is asked for, and no more than the consent."""
    device.start()
    for n, sample in enumerate(_samples(8)):
        device.client.infer(f"s{n}", sample)
    device.client.feedback("s0", LABELS[1])
    device.client.collect(max_samples=100)
    for n in range(1, 8):
        device.client.feedback(f"s{n}", LABELS[1])
    assert device.client.stats().samples_refused == {"not_asked": 1, "used_up": 4}
    assert device.stop() == 0
    device.start()
    device.client.infer("again", _samples(1)[0])
    device.client.feedback("again", LABELS[1])
    assert device.stop() == 0
    sent = device.records(Lane.SAMPLE)
    assert [r.sample_id for r in sent if isinstance(r, SampleRecord)] == [
        "s1",
        "s2",
        "s3",
    ]
    first = sent[0]
    assert isinstance(first, SampleRecord)
    assert first.consent == "study-1"
    data = np.frombuffer(first.data, "<f4").reshape(first.shape)
    np.testing.assert_array_equal(data, _samples(8)[1])


def test_the_source_plays_recordings(device: Device) -> None:
    """Recordings become predictions; a NaN row rejects its windows only."""
    steady = np.tile(_samples(1)[0], (2, 1))
    broken = steady.copy()
    broken[150] = np.nan
    np.savez(device.folder / "play.npz", whole=steady, broken=broken)
    with device.config.open("a") as file:
        file.write('[source]\nkind = "replay"\npath = "play.npz"\nrate = 200.0\n')
    device.start()
    wait_for(lambda: device.client.stats().predictions > 20)
    stats = device.client.stats()
    assert stats.rejected_by_reason["not_finite"] > 0
    ids = [one.sample_id for one in device.client.recent(0, 3)]
    assert ids == ["whole@0#0", "broken@0#0", "whole@20#0"]


def test_the_worker_ends_with_its_supervisor(device: Device) -> None:
    """When standard input closes, the worker commits and ends."""
    device.start()
    device.client.infer("last", _samples(1)[0])
    assert device.process is not None
    assert device.process.stdin is not None
    device.process.stdin.close()
    assert device.end() == 0
    assert [type(r) for r in device.records(Lane.METRIC)] == [ProfileRecord]
    assert not (device.state / "agent.sock").exists()


def test_the_socket_is_its_owners_and_outlives_a_kill(device: Device) -> None:
    """Nobody else may connect; a socket left behind does not stop the next worker."""
    device.start()
    socket = device.state / "agent.sock"
    assert socket.stat().st_mode & 0o777 == 0o600
    assert device.process is not None
    os.kill(device.process.pid, signal.SIGKILL)
    assert device.end() == -signal.SIGKILL
    assert socket.exists()
    device.start()
    assert device.client.status().release == 1


def test_the_worker_is_light(device: Device) -> None:
    """The worker imports no network, trust or database-server library."""
    code = (
        "import sys, edge_agent.worker;"
        "print(*{n.partition('.')[0] for n in sys.modules})"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    heavy = {"httpx", "tuf", "paho", "asyncio", "click", "rich", "ssl"}
    assert not heavy & set(run.stdout.split())
