"""The wheel, installed as a device would, is light and works."""

import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEVER = {
    "alembic",
    "cryptography",
    "fastapi",
    "keras",
    "pydantic",
    "rich",
    "sqlalchemy",
    "sqlite-utils",
    "tensorflow",
    "uvicorn",
}


def run(*argv: str | Path) -> str:
    """Run a command that must succeed and return what it prints."""
    done = subprocess.run(
        [str(part) for part in argv], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the bin folder of an environment with the wheel and ``[agent]``."""
    folder = tmp_path_factory.mktemp("wheel")
    run(
        *(sys.executable, "-m", "build", "--wheel", "--no-isolation"),
        *("--outdir", folder, ROOT),
    )
    (wheel,) = folder.glob("shoal-*.whl")
    venv.create(folder / "env", with_pip=True)
    bin_ = folder / "env" / "bin"
    run(bin_ / "python", "-m", "pip", "install", "--quiet", f"{wheel}[agent]")
    return bin_


@pytest.mark.timeout(600)
def test_the_agents_environment_holds_no_server_or_training_library(
    device: Path,
) -> None:
    """``[agent]`` brings neither TensorFlow nor a database toolkit nor a web server."""
    listed = run(device / "python", "-m", "pip", "list", "--format", "freeze")
    names = {line.partition("==")[0].lower() for line in listed.splitlines()}

    assert not names & NEVER
    assert "ai-edge-litert" in names


@pytest.mark.timeout(600)
def test_the_agents_command_line_works_there(device: Path) -> None:
    """Help of every command needs nothing that is not installed."""
    assert "run" in run(device / "edge-agent", "--help")
    assert "--config" in run(device / "edge-agent", "run", "--help")


@pytest.mark.timeout(600)
def test_the_supervisor_needs_neither_numpy_nor_an_http_client_to_run(
    device: Path,
) -> None:
    """What only the worker or a download needs is no part of its memory."""
    loaded = run(
        device / "python",
        "-c",
        "import sys, edge_agent.supervisor; print(*sys.modules)",
    )

    assert not {"numpy", "httpx", "ai_edge_litert", "click"} & set(loaded.split())
