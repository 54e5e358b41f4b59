"""`edge-agent run --model`: a file served alone, and how it comes into a fleet."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from edge_agent.alone.wrap import name_of, spawn_wrap, wrap
from edge_agent.errors import ModelError
from edge_agent.serve.client import Client
from edge_agent.store.factory import read_factory
from edge_agent.update.selftest import spawn_self_test
from tests.fakes.agent_hub import free_port
from tests.fakes.worker_device import LABELS, samples, wait_for

DATA = Path(__file__).parents[1] / "data"
MODEL = DATA / "tiny.tflite"
ROOT = Path(__file__).parents[2]


class Alone:
    """An agent process that serves one model."""

    def __init__(self, *words: str | Path) -> None:
        """Start it."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "edge_agent", "run", *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self.lines: list[str] = []
        self.log: list[str] = []
        self._readers: list[threading.Thread] = []
        for stream, into in (
            (self.process.stdout, self.lines),
            (self.process.stderr, self.log),
        ):
            assert stream is not None
            reader = threading.Thread(target=_read, args=(stream, into), daemon=True)
            reader.start()
            self._readers.append(reader)

    def wait(self, lines: int = 3) -> None:
        """Wait until it said how to ask it."""
        wait_for(lambda: len(self.lines) >= lines or self.process.poll() is not None)
        assert self.process.poll() is None, "".join(self.log)

    def stop(self) -> int:
        """End it as Ctrl-C does; return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        code = self.process.wait(20)
        for reader in self._readers:
            reader.join(10)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        return code


def _read(stream: IO[str], into: list[str]) -> None:
    for line in stream:
        into.append(line)  # noqa: PERF402 - others look at it meanwhile


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Return a file of class names."""
    path = tmp_path / "labels.txt"
    path.write_text("\n".join(LABELS) + "\n")
    return path


@pytest.fixture
def alone(tmp_path: Path, labels: Path) -> Iterator[Alone]:
    """Return the tiny model, served."""
    words = ("--model", MODEL, "--labels", labels, "--port", str(free_port()))
    made = Alone(*words, "--state-dir", tmp_path / "dir")
    yield made
    made.stop()


def test_what_is_printed_can_be_pasted(alone: Alone, tmp_path: Path) -> None:
    """Three lines: what is served, a request by HTTP, a request on the socket."""
    alone.wait()
    digest = hashlib.sha256(MODEL.read_bytes()).hexdigest()
    assert len(alone.lines) == 3
    assert f"tiny (release 0, sha256 {digest[:12]}" in alone.lines[0]
    assert "x float32 [100, 6]" in alone.lines[0]
    said = subprocess.run(
        ["/bin/sh", "-c", alone.lines[1]], capture_output=True, text=True, check=True
    )
    answer = json.loads(said.stdout)
    assert answer["parameters"]["served_by"] == "factory"
    assert answer["parameters"]["label"] in LABELS
    np.savetxt(tmp_path / "sample.csv", samples(1)[0], delimiter=",")
    command = alone.lines[2].partition("#")[0].split()[1:]
    command[-1] = str(tmp_path / "sample.csv")
    done = subprocess.run(
        [sys.executable, "-m", "edge_agent", *command, "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    (one,) = json.loads(done.stdout)["answers"]
    assert (one["served_by"], one["release"]) == ("factory", 0)
    assert alone.stop() == 0


def test_the_model_is_the_file_and_nothing_is_kept_for_a_hub(
    alone: Alone, tmp_path: Path
) -> None:
    """Status tells the file's digest; no record waits for anybody."""
    alone.wait()
    with Client(tmp_path / "dir" / "state" / "agent.sock") as client:
        for number, sample in enumerate(samples(150)):
            client.infer(f"s{number}", sample)
        status = client.status()
        assert status.sha256 == hashlib.sha256(MODEL.read_bytes()).hexdigest()
        assert (status.release, status.labels) == (0, LABELS)
    assert alone.stop() == 0
    where = ("--config", str(tmp_path / "dir" / "agent.toml"))
    for words, code, what in (
        (("doctor",), 0, "works alone"),
        (("status",), 0, "works alone"),
        (("models", "list"), 0, "factory"),
        (("models", "pin"), 5, "AGENT-UPDATE-102"),
        (("run",), 1, "AGENT-TRUST-002"),
    ):
        asked = subprocess.run(
            [sys.executable, "-m", "edge_agent", *words, *where],
            capture_output=True,
            text=True,
            check=False,
        )
        assert asked.returncode == code, asked.stderr
        assert what in asked.stdout + asked.stderr
    done = subprocess.run(
        [sys.executable, "-m", "edge_agent", "outbox", "stats", "--json", *where],
        capture_output=True,
        text=True,
        check=True,
    )
    lanes = json.loads(done.stdout)["lanes"]
    assert {lane["produced"] for lane in lanes.values()} == {0}


def test_a_worker_that_dies_is_back(alone: Alone, tmp_path: Path) -> None:
    """The model's process is killed; requests are answered again within seconds."""
    alone.wait()
    with Client(tmp_path / "dir" / "state" / "agent.sock") as client:
        first = client.status()
        os.kill(first.pid, signal.SIGKILL)
    with Client(tmp_path / "dir" / "state" / "agent.sock") as client:
        wait_for(lambda: _is_back(client, first.pid))


def _is_back(client: Client, before: int) -> bool:
    try:
        status = client.status()
    except Exception:  # noqa: BLE001 - whatever it is, it is not back yet
        return False
    return status.pid != before and bool(status.sha256)


def test_without_a_folder_nothing_is_left(tmp_path: Path) -> None:
    """A temporary folder is used and removed, also after Ctrl-C."""
    made = Alone("--model", MODEL, "--port", "0")
    made.wait(lines=2)
    folder = Path(made.lines[1].split("--socket ")[1].split("/state/")[0])
    assert folder.name.startswith("shoal-")
    assert folder.is_dir()
    assert made.stop() == 0
    assert not folder.exists()


def test_a_bundle_folder_is_served_as_it_is(tmp_path: Path) -> None:
    """It brings its labels and limits, and keeps its name."""
    bundle = tmp_path / "mine"
    wrap(DATA / "kinds" / "two.tflite", bundle, None)
    port = free_port()
    made = Alone("--model", bundle, "--port", str(port))
    try:
        made.wait()
        assert "two (release 0" in made.lines[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/models/two") as reply:
            assert json.load(reply)["inputs"][0]["shape"] == [-1, 2]
    finally:
        made.stop()


def test_a_sample_of_several_inputs_goes_from_the_command_line(tmp_path: Path) -> None:
    """An npz with an array for each input; the answer is its numbers."""
    model = DATA / "kinds" / "pump.tflite"
    np.savez(tmp_path / "good.npz", flow=np.ones(4), level=np.ones(1))
    np.savez(tmp_path / "bad.npz", flow=np.ones(4), other=np.ones(1))
    made = Alone("--model", model, "--port", "0", "--state-dir", tmp_path / "s")
    try:
        made.wait(lines=2)
        before, _, names = made.lines[1].partition("SAMPLE.npz    # ")
        assert names.strip() == "one array for each input: flow, level"
        command = [sys.executable, "-m", "edge_agent", *before.split()[1:]]
        good, bad = (
            subprocess.run(
                [*command, str(tmp_path / f"{name}.npz")],
                check=False,
                capture_output=True,
                text=True,
            )
            for name in ("good", "bad")
        )
    finally:
        made.stop()
    assert "load " in good.stdout
    assert "states " in good.stdout
    assert bad.returncode == 1
    assert "['flow', 'other'], the model takes ['flow', 'level']" in bad.stderr


@pytest.mark.parametrize(
    ("words", "code", "what"),
    [
        (("--model", Path(__file__)), 1, "AGENT-MODEL-001"),
        (("--model", MODEL, "--labels", ROOT / "LICENSE"), 2, "AGENT-LABELS-002"),
        (("--model", DATA, "--labels", MODEL), 2, "AGENT-LABELS-003"),
        (("--model", DATA), 1, "AGENT-ALONE-008"),
        (("--model", "none.tflite"), 2, "does not exist"),
        (("--port", "1"), 2, "need --model"),
        (("--model", MODEL, "--config", "a.toml"), 2, "needs no --config"),
    ],
)
def test_what_cannot_be_served_is_said(
    words: tuple[str | Path, ...], code: int, what: str
) -> None:
    """A code and a cure; the file that kills its process kills nothing else."""
    done = subprocess.run(
        [sys.executable, "-m", "edge_agent", "run", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == code, done.stderr
    assert what in done.stderr
    assert "Traceback" not in done.stderr


def test_a_taken_port_is_said(tmp_path: Path) -> None:
    """Exit code 5, and which option chooses another."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        made = Alone("--model", MODEL, "--port", port, "--state-dir", tmp_path)
        made.process.wait(30)
        assert made.stop() == 5
        assert any("AGENT-ALONE-005" in line for line in made.log)


def test_a_fleets_folder_is_left_alone(tmp_path: Path) -> None:
    """A device of a fleet is never turned into one without trust by a slip."""
    text = '[device]\nid = "d1"\n[trust]\nroot = "root.json"\n'
    (tmp_path / "agent.toml").write_text(text)
    made = Alone("--model", MODEL, "--state-dir", tmp_path)
    made.process.wait(30)
    assert made.stop() == 5
    assert any("AGENT-ALONE-004" in line for line in made.log)
    assert (tmp_path / "agent.toml").read_text() == text


def test_what_was_added_by_hand_stays(tmp_path: Path, labels: Path) -> None:
    """Sources and sinks in the folder's configuration are there at the next run."""
    folder = tmp_path / "dir"
    words = ("--model", MODEL, "--labels", labels, "--port", "0")
    made = Alone(*words, "--state-dir", folder)
    made.wait(lines=2)
    assert made.stop() == 0
    np.savez(folder / "play.npz", a=samples(3).reshape(300, 6))
    with (folder / "agent.toml").open("a") as file:
        file.write('\n[[sources]]\nkind = "replay"\npath = "play.npz"\nrate = 100.0\n')
    made = Alone(*words, "--state-dir", folder)
    try:
        made.wait(lines=2)
        with Client(folder / "state" / "agent.sock") as client:
            wait_for(lambda: client.status().sources[0].done > 3)
    finally:
        made.stop()


def test_the_same_file_makes_the_same_bundle(tmp_path: Path) -> None:
    """So the self-test is done once; the bundle says that nobody judged it."""
    for name in ("one", "two"):
        spawn_wrap(MODEL, tmp_path / name, None)
    found = [(tmp_path / name / "bundle.json").read_bytes() for name in ("one", "two")]
    assert found[0] == found[1]
    bundle = read_factory(tmp_path / "one").release.bundle
    assert not bundle.gate.ok
    assert bundle.model.sha256 == hashlib.sha256(MODEL.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "name", ["two", "pump", "pump-int8", "kinds", "half", "pump-bare"]
)
def test_models_of_many_kinds_are_wrapped(tmp_path: Path, name: str) -> None:
    """Several inputs, integers, no signature: the bundle passes its own self-test."""
    wrap(DATA / "kinds" / f"{name}.tflite", tmp_path / "b", None)
    verdict = spawn_self_test(tmp_path / "b", 0, interrupted=lambda: False)
    assert verdict is not None
    assert verdict.ok, verdict.detail


def test_names_are_made_of_files_names() -> None:
    """Whatever a file is called, its model has a name that the protocol can say."""
    assert name_of(Path("/x/My Model (v2).tflite")) == "my-model-v2"
    assert name_of(Path("÷÷.tflite")) == "model"
    assert len(name_of(Path("a" * 200 + ".tflite"))) == 64


def test_a_file_that_kills_its_process_kills_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the interpreter does with it, the answer is an error with a cure."""
    (tmp_path / "deadly.py").write_text("import os; os.kill(os.getpid(), 11)\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setattr("edge_agent.alone.wrap.MODULE", "deadly")
    with pytest.raises(ModelError, match="status -11") as caught:
        spawn_wrap(MODEL, tmp_path / "b", None)
    assert caught.value.code == "AGENT-ALONE-002"
    assert not (tmp_path / "b").exists()


def test_a_file_that_is_not_there_is_a_model_error(tmp_path: Path) -> None:
    """The code says which step failed."""
    with pytest.raises(ModelError) as caught:
        spawn_wrap(tmp_path / "none.tflite", tmp_path / "b", None)
    assert caught.value.code == "AGENT-ALONE-001"
