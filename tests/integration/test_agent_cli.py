"""The agent's command line: help, configuration, doctor, errors and exit codes."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge_agent.config import AgentConfig, read_agent_config

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "configs" / "agent.example.toml"


def ask(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    return subprocess.run(
        [sys.executable, "-m", "edge_agent", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return the example configuration in a folder of its own."""
    path = tmp_path / "agent.toml"
    path.write_bytes(EXAMPLE.read_bytes())
    return path


def test_example_names_every_key() -> None:
    """The example is valid and explains every key there is."""
    settings = read_agent_config(EXAMPLE)
    text = EXAMPLE.read_text("utf-8")

    assert settings.device.id == "watch-07"
    for section in msgspec.structs.fields(AgentConfig):
        assert section.name in text
        kind = getattr(settings, section.name)
        # Sources and sinks have many kinds: tests/contract/test_flows_example.py.
        if isinstance(kind, msgspec.Struct) and section.name != "source":
            for key in kind.__struct_fields__:
                assert f"\n{key} = " in text, f"{section.name}.{key}"
    for key in ("name", "expires_at", "max_samples"):
        assert f"\n# {key} = " in text


def test_help_imports_nothing_heavy() -> None:
    """Help needs neither numpy, nor TUF, nor MQTT, nor an interpreter."""
    code = (
        "import sys; from edge_agent.cli import cli\n"
        "try: cli(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'tuf', 'httpx', 'paho', 'ai_edge_litert', 'sqlite3'}\n"
        "print(*heavy & set(sys.modules), file=sys.stderr, end='')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "run" in done.stdout


def test_config_check(config: Path) -> None:
    """The effective configuration is printed, defaults included."""
    done = ask("config", "check", "--config", str(config), "--json")

    assert done.returncode == 0
    assert json.loads(done.stdout)["outbox"]["batch_records"] == 64


def test_unknown_key_is_explained(config: Path) -> None:
    """A misspelt key is named with its file and the right name; exit code 2."""
    config.write_text(config.read_text().replace("keepalive_s", "keepalive"))
    done = ask("config", "check", "--config", str(config))

    assert done.returncode == 2
    assert "keepalive" in done.stderr
    assert "did you mean 'keepalive_s'?" in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_names_cures(config: Path) -> None:
    """Each check is one line; what fails says what to do; exit code 1."""
    done = ask("doctor", "--config", str(config))
    lines = done.stdout.splitlines()

    assert done.returncode == 1
    assert len(lines) == 7
    assert any(line.startswith("FAIL  root of trust") for line in lines)
    assert any(line.startswith("ok    runtime") for line in lines)
    assert all("->" in line for line in lines if line.startswith("FAIL"))


def test_doctor_looks_at_sources_and_sinks(config: Path) -> None:
    """Folders, files, secrets and programs, each with its cure."""
    with config.open("a") as file:
        file.write(
            '[[sources]]\nkind = "folder"\npath = "in"\n'
            '[[sources]]\nkind = "csv"\npath = "none.csv"\n'
            '[[sources]]\nkind = "camera"\n'
            '[[sources]]\nkind = "mqtt"\ntopic = "a"\n'
            'broker = { username = "u", password_file = "none" }\n'
            '[[sinks]]\nkind = "command"\nargv = ["no-such-program"]\nrule = {}\n'
            '[[sinks]]\nkind = "webhook"\nurl = "http://127.0.0.1:1/"\nrule = {}\n'
        )
    (config.parent / "in").mkdir()
    done = ask("doctor", "--config", str(config), "--json")
    found = {one["check"]: one["ok"] for one in json.loads(done.stdout)}
    assert found["source folder"] is found["sink webhook"] is True
    # Not installed where the older runtime is tested.
    assert found["source camera"] is (find_spec("cv2") is not None)
    assert found["source csv"] is found["source mqtt"] is False
    assert found["sink command"] is False


def test_status_before_the_first_run(config: Path) -> None:
    """A device that never ran is said to be so; exit code 3."""
    done = ask("status", "--config", str(config))

    assert done.returncode == 3
    assert "AGENT-CLI-001" in done.stderr


def test_run_without_root(config: Path) -> None:
    """A missing root of trust is said with its cure, before anything is made."""
    done = ask("run", "--config", str(config))

    assert done.returncode == 1
    assert "AGENT-TRUST-001" in done.stderr
    assert not (config.parent / "state").exists()


def test_infer_without_agent(config: Path, tmp_path: Path) -> None:
    """Without a running agent inference says what to start; exit code 8."""
    np.savez(tmp_path / "x.npz", a=np.zeros((100, 6), np.float32))
    done = ask("infer", "--config", str(config), "--input", str(tmp_path / "x.npz"))

    assert done.returncode == 8
    assert "AGENT-WORKER-001" in done.stderr


def test_infer_with_a_model_file(tmp_path: Path) -> None:
    """A model file alone infers every sample of the input."""
    np.savez(tmp_path / "x.npz", a=np.zeros((2, 100, 6), np.float32))
    model = ROOT / "tests" / "data" / "tiny.tflite"
    done = ask(
        "infer", "--model", str(model), "--input", str(tmp_path / "x.npz"), "--json"
    )

    answers = json.loads(done.stdout)["answers"]
    assert [a["sample_id"] for a in answers] == ["a@0", "a@1"]
    assert answers[0]["confidence"] == pytest.approx(1 / 7, abs=0.01)


def test_bad_input_file(config: Path, tmp_path: Path) -> None:
    """A file without a sample is an error of usage."""
    (tmp_path / "x.csv").write_text("no,numbers\n")
    done = ask("infer", "--config", str(config), "--input", str(tmp_path / "x.csv"))

    assert done.returncode == 2
    assert "AGENT-CLI-002" in done.stderr
