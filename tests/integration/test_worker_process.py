"""The worker as a real process: real SQLite, real interpreter, the tiny model."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_agent.errors import SampleRejectedError, WorkerError
from edge_agent.serve.client import Client
from edge_agent.wire.records import (
    FeedbackRecord,
    ProfileRecord,
    SampleRecord,
)
from edge_agent.wire.topics import Lane
from tests.fakes.worker_device import LABELS, Device, samples, wait_for


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    """A device whose worker is ended with the test."""
    made = Device(tmp_path)
    yield made
    made.kill()


def test_predictions_profiles_and_feedback_land_in_the_outbox(device: Device) -> None:
    """What is predicted is profiled, joined with its label, and committed."""
    device.start()
    made = [device.client.infer(f"s{n}", x) for n, x in enumerate(samples(45))]
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
    good = samples(1)[0]
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
            inputs = samples(8)
            while not done.is_set():
                try:
                    client.infer(f"n{count}", inputs[count % 8])
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
    assert device.client.infer("s", samples(1)[0]).release == 1


def test_previous_steps_in_at_the_start(device: Device) -> None:
    """Where the active release cannot be loaded, the one before serves."""
    device.assign(active=9, previous=1)
    device.start()
    assert device.client.status().release == 1


def test_without_a_model_the_rule_answers(device: Device) -> None:
    """With an empty slot row the configured label is the answer, and says so."""
    device.assign(active=0)
    device.start()
    made = device.client.infer("s", samples(1)[0])
    assert (made.label, made.served_by, made.release) == (LABELS[3], "rule", 0)


def test_samples_leave_only_as_agreed(device: Device) -> None:
    """Nothing of before the collection, and no more than the consent."""
    device.start()
    before, *later = samples(8)
    device.client.infer("s0", before)
    device.client.infer("early", before)
    device.client.feedback("s0", LABELS[1])
    device.client.collect(max_samples=100)
    for n, sample in enumerate(later, 1):
        device.client.infer(f"s{n}", sample)
    for name in ("early", *(f"s{n}" for n in range(1, 8))):
        device.client.feedback(name, LABELS[1])
    refused = {"not_asked": 1, "before": 1, "used_up": 4}
    assert device.client.stats().samples_refused == refused
    assert device.stop() == 0
    device.start()
    device.client.infer("again", samples(1)[0])
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
    np.testing.assert_array_equal(data, samples(8)[1])


def test_the_source_plays_recordings(device: Device) -> None:
    """Recordings become predictions; a NaN row rejects its windows only."""
    steady = np.tile(samples(1)[0], (2, 1))
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
    device.client.infer("last", samples(1)[0])
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


def test_the_worker_is_bounded_and_the_first_to_go(device: Device) -> None:
    """Its memory has a limit, and the kernel ends it before anything else."""
    with device.config.open("a") as file:
        file.write("[worker]\nmemory_bytes = 314572800\n")
    device.start()
    assert device.process is not None
    proc = Path(f"/proc/{device.process.pid}")
    limits = proc.joinpath("limits").read_text().splitlines()
    (data,) = (line.split() for line in limits if line.startswith("Max data size"))
    assert data[3] == "314572800"
    assert int(proc.joinpath("oom_score_adj").read_text()) == 500
    assert device.client.infer("s", samples(1)[0]).served_by == "active"


HEAVY = {
    "argparse",
    "asyncio",
    "click",
    "csv",
    "difflib",
    "email",
    "google",
    "grpc",
    "hashlib",
    "hmac",
    "http.client",
    "httpx",
    "importlib.metadata",
    "ipaddress",
    "json",
    "msgspec.inspect",
    "paho",
    "PIL",
    "random",
    "rich",
    "secrets",
    "selectors",
    "ssl",
    "subprocess",
    "tempfile",
    "tuf",
    "typing_extensions",
    "urllib.request",
    "zipfile",
    "edge_agent.serve.sinks.port",
    "edge_agent.serve.sources.port",
}
"""What a worker without sources, sinks, tokens and gRPC has no use for."""


def _loaded_by(code: str) -> set[str]:
    """Return the words that a fresh Python prints."""
    run = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    return set(run.stdout.split())


def test_the_worker_is_light(device: Device) -> None:
    """The worker imports nothing it can do without: each costs memory for ever."""
    # What is put off is there by name, without a specification.
    names = "print(*(n for n, m in sys.modules.items() if vars(m).get('__spec__')))"
    # Before numpy 2 numpy itself loads some of it.
    numpy = _loaded_by(f"import sys, numpy; {names}")
    mine = _loaded_by(f"import sys, edge_agent.worker; {names}")
    assert "edge_agent.worker" in mine
    assert not HEAVY & (mine - numpy)


def test_a_serving_worker_stays_light(device: Device) -> None:
    """Nor does it load OpenSSL or archive formats to serve a release and its status."""
    device.start()
    device.client.infer("a", samples(1)[0])
    device.client.status()
    assert device.process is not None
    maps = Path(f"/proc/{device.process.pid}/maps").read_text("utf-8")
    assert any(runtime in maps for runtime in ("ai_edge_litert", "tflite_runtime"))
    numpy = _loaded_by("import numpy; print(open('/proc/self/maps').read())")
    for library in ("libcrypto", "libssl", "_bz2", "_lzma"):
        assert library not in maps or any(library in word for word in numpy)
