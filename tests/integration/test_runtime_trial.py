"""A file that nobody vouches for costs a process that nobody needs."""

import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent import Engine
from edge_agent.errors import ModelError
from edge_agent.runtime.trial import must_be_tried, try_out

DATA = Path(__file__).parents[1] / "data"


def test_a_good_model_passes() -> None:
    """Nothing is raised."""
    try_out((DATA / "tiny-int8.tflite").read_bytes())


@pytest.mark.parametrize("cut", [0, 8, 1000, 3000])
def test_a_damaged_model_is_an_error_here_on_any_runtime(cut: int) -> None:
    """Even where loading it ends the process that does."""
    with pytest.raises(ModelError) as caught:
        try_out((DATA / "tiny.tflite").read_bytes()[:cut])

    assert caught.value.code == "AGENT-MODEL-001"


@pytest.mark.parametrize("cut", [8, 1000, 3000])
def test_opening_a_damaged_file_never_ends_an_application(
    tmp_path: Path, cut: int
) -> None:
    """An application sees an error and goes on."""
    file = tmp_path / "cut.tflite"
    file.write_bytes((DATA / "tiny.tflite").read_bytes()[:cut])
    text = (
        "import sys; from edge_agent import Engine; from edge_agent.errors import"
        " ModelError\n"
        "try:\n    Engine.open(sys.argv[1])\n"
        "except ModelError as error:\n    print(error.code)\n"
    )
    run = [sys.executable, "-c", text, str(file)]
    done = subprocess.run(run, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, "AGENT-MODEL-001\n")


def test_only_the_older_runtime_needs_a_trial() -> None:
    """And a good file opens on either."""
    from edge_agent.base.installed import installed_runtime

    assert must_be_tried() == installed_runtime().startswith("tflite-runtime")
    Engine.open(DATA / "tiny.tflite").close()
