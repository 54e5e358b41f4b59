"""Models made elsewhere, through a real hub, to a real agent that answers with them."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from edge_agent.base.clock import SystemClock
from edge_agent.errors import AgentError
from edge_agent.runtime.litert import load_model
from edge_agent.serve.client import Client
from edge_agent.wire.codec import decode
from edge_agent.wire.profile import ReferenceProfile
from hub.cli import cli
from hub.config import Home
from hub.home import create_home
from tests.carried import CONFIG, DEVICE, carry
from tests.fakes.agent_hub import free_port, wait_for
from tests.fakes.agent_process import Agent
from tests.fakes.pump_release import pump_sample

DATA = Path(__file__).parents[1] / "data"
KINDS = DATA / "kinds"
AGENT = f"""
[device]
id = "{DEVICE}"
[trust]
root = "root.json"
[broker]
port = {{port}}
"""

Sample = NDArray[np.float32] | dict[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A model, how it is imported, and what it must answer with."""

    source: str
    options: Sequence[str] = ()
    sample: str = "motion"
    labels: Sequence[str] = ()


CASES = {
    "classifier": Case(
        source="tiny.tflite",
        options=["--samples", "stream.csv", "--hop", "20", "--labels", "moves.txt"],
        sample="tiny",
        labels=[f"move-{place}" for place in range(7)],
    ),
    "regression of two inputs": Case(
        source="kinds/pump.tflite", options=["--samples", "pump.npz"], sample="pump"
    ),
    "int8": Case(source="kinds/pump-int8.tflite", sample="pump"),
    "no signature": Case(source="kinds/pump-bare.tflite", sample="bare"),
    "keras": Case(
        source="motion.keras",
        options=["--labels", "kinds.txt", "--axes", "x,y,z", "--sample-rate", "25"],
        labels=["run", "walk", "stand"],
    ),
    "keras of two inputs": Case(source="pump.keras", sample="pump"),
    "SavedModel": Case(
        source="motion_saved",
        options=["--signature", "classify", "--name", "motion"],
        labels=["0", "1", "2"],
    ),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with models, samples and names of classes."""
    folder = tmp_path_factory.mktemp("files")
    command = [sys.executable, "-m", "tests.fakes.foreign_models", str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=100)
    (folder / "kinds").mkdir()
    for path in (DATA / "tiny.tflite", *KINDS.glob("pump*.tflite")):
        (folder / path.relative_to(DATA)).write_bytes(path.read_bytes())
    (folder / "moves.txt").write_text("".join(f"move-{n}\n" for n in range(7)))
    (folder / "kinds.txt").write_text("run\nwalk\nstand\n")
    rng = np.random.default_rng(9)
    rows = rng.normal(size=(1200, 6)).round(3)
    lines = [",".join(map(str, row)) for row in rows.tolist()]
    (folder / "stream.csv").write_text("ax,ay,az,gx,gy,gz\n" + "\n".join(lines))
    samples = [pump_sample(seed) for seed in range(200)]
    np.savez(
        folder / "pump.npz",
        flow=np.stack([sample["flow"] for sample in samples]),
        level=np.stack([sample["level"] for sample in samples]),
    )
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Return a hub without releases."""
    made = Home(tmp_path_factory.mktemp("hub") / "home")
    create_home(made, SystemClock())
    made.config_file.write_text(CONFIG, "utf-8")
    return made


@pytest.fixture(scope="module")
def agent(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """Start an agent that has no model, no source and no broker."""
    port = free_port()
    folder = tmp_path_factory.mktemp("agent")
    made = Agent(folder, port, home.root_file.read_bytes())
    made.config.write_text(AGENT.format(port=port))
    made.start()
    wait_for(lambda: made.events("worker.ready"), "the worker")
    yield made
    made.stop(signal.SIGKILL)


def hub(home: Home, *words: str) -> Result:
    """Run a command of the hub in this process."""
    return CliRunner().invoke(cli, ["--home", str(home.path), *words])


def sample_of(kind: str) -> Sample:
    """Return a sample that fits."""
    rng = np.random.default_rng(2)
    if kind == "tiny":
        return rng.normal(size=(100, 6)).astype(np.float32)
    if kind == "motion":
        return rng.normal(size=(12, 3)).astype(np.float32)
    sample = pump_sample()
    if kind == "bare":
        return {f"serving_default_{name}:0": array for name, array in sample.items()}
    return sample


def channels_of(home: Home, release: int) -> list[str]:
    """Return what a release watches."""
    data = (home.releases / str(release) / "reference.json").read_bytes()
    return [channel.name for channel in decode(data, ReferenceProfile).channels]


def apply(agent: Agent, usb: Path, sample: Sample) -> dict[str, object]:
    """Have the agent activate what is in a folder, under load; return its report."""
    command = agent.command("update", "apply", "--from", str(usb), "--json")
    with (
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as applying,
        Client(agent.folder / "state" / "agent.sock", 10.0) as client,
    ):
        while applying.poll() is None:
            try:
                client.infer("load", sample)
            except AgentError:
                continue  # The release before takes other samples.
        out, err = applying.communicate()
    assert applying.returncode == 0, out + err
    return dict(json.loads(out))


@pytest.mark.parametrize("name", CASES)
def test_a_foreign_model_is_imported_activated_and_served(
    name: str, home: Home, agent: Agent, files: Path, tmp_path: Path
) -> None:
    """The device answers with the very numbers of the imported file."""
    case = CASES[name]
    options = [
        str(files / one) if (files / one).is_file() else one for one in case.options
    ]
    done = hub(home, "releases", "import", str(files / case.source), *options, "--json")
    assert done.exit_code == 0, done.output
    release = json.loads(done.stdout)["release"]
    channels = channels_of(home, release)
    assert bool(channels) == ("--samples" in case.options)
    carry(home, tmp_path / "usb", release, DEVICE)
    sample = sample_of(case.sample)

    said = apply(agent, tmp_path / "usb", sample)

    assert (said["release"], said["outcome"]) == (release, "committed"), said
    model = load_model((home.releases / str(release) / "model.tflite").read_bytes())
    with Client(agent.folder / "state" / "agent.sock", 10.0) as client:
        made = client.infer("one", sample)
    assert (made.release, made.served_by) == (release, "active")
    if isinstance(sample, dict):
        wanted = model.predict_named(sample)
        assert {name: one.values for name, one in made.outputs.items()} == {
            name: pytest.approx(array.ravel().tolist())
            for name, array in wanted.items()
        }
        assert made.label == ""
    else:
        probabilities = next(
            v for v in model.predict(sample).values() if len(v) == len(case.labels)
        )
        assert made.probabilities == pytest.approx(probabilities.tolist(), abs=1e-6)
        assert made.label == case.labels[int(probabilities.argmax())]
