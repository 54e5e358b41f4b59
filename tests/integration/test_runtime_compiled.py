"""The compiled backend: the same numbers, and what it falls back to."""

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_agent.base.installed import (
    BACKEND_VARIABLE,
    chosen_backend,
    installed_runtime,
)
from edge_agent.runtime.compiled import CompiledRun, present_accelerators
from edge_agent.runtime.interpreted import InterpretedModel
from edge_agent.runtime.litert import NOT_COMPILED, load_model

DATA = Path(__file__).parents[1] / "data"
HAS_COMPILED = installed_runtime().startswith("ai-edge-litert")


def _bytes(name: str) -> bytes:
    return (DATA / name).read_bytes()


@pytest.mark.parametrize("name", ["tiny.tflite", "tiny-int8.tflite"])
def test_both_backends_give_the_same_numbers(name: str) -> None:
    """On a CPU the compiled model computes what the interpreter does."""
    one = load_model(_bytes(name))
    other = load_model(_bytes(name), backend="compiled")
    assert isinstance(one, InterpretedModel)
    assert isinstance(other, CompiledRun) is HAS_COMPILED
    for seed in range(5):
        x = np.random.default_rng(seed).normal(size=(100, 6)).astype(np.float32)
        theirs = other.predict(x)
        for output, values in one.predict(x).items():
            np.testing.assert_allclose(theirs[output], values, atol=1e-5)


def test_what_has_no_buffer_type_the_interpreter_runs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is said why, and the model is served all the same."""
    with caplog.at_level(logging.WARNING):
        model = load_model(_bytes("kinds/pump-int16.tflite"), backend="compiled")
    assert isinstance(model, InterpretedModel)
    (said,) = [record for record in caplog.records if record.message == NOT_COMPILED]
    why = str(said.__dict__["why"])
    assert ("int16" in why) is HAS_COMPILED
    assert ("no CompiledModel" in why) is not HAS_COMPILED


def test_accelerators_are_those_that_have_a_device(tmp_path: Path) -> None:
    """A machine without any has none to try."""
    assert present_accelerators(tmp_path) == []
    for node in ("dev/dri/renderD128", "dev/accel/accel0"):
        (tmp_path / node).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / node).touch()
    assert present_accelerators(tmp_path) == ["NPU", "GPU"]


def test_the_environment_names_the_backend_of_a_process() -> None:
    """So that self-tests run what the worker will."""
    assert chosen_backend({}) == "interpreter"
    assert chosen_backend({BACKEND_VARIABLE: "something"}) == "interpreter"
    code = (
        "import sys; from pathlib import Path;"
        "from edge_agent.base.installed import use_backend; use_backend('compiled');"
        "from edge_agent.runtime.litert import load_model;"
        "model = load_model(Path(sys.argv[1]).read_bytes());"
        "print(type(model).__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(DATA / "tiny.tflite")],
        check=True,
        capture_output=True,
        text=True,
    )
    wanted = "CompiledRun" if HAS_COMPILED else "InterpretedModel"
    assert done.stdout.strip() == wanted
