"""Real models on the real interpreter."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_agent.base.installed import installed_runtime
from edge_agent.errors import ModelError
from edge_agent.runtime.litert import load_model, runtime_name

DATA = Path(__file__).parents[1] / "data"
SHAPES = {"probabilities": (7,), "embedding": (8,), "distance": (1,), "energy": (1,)}


def _bytes(name: str) -> bytes:
    return (DATA / name).read_bytes()


def _sample() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(3).normal(size=(100, 6)).astype(np.float32)


def test_outputs_are_named_by_the_signature() -> None:
    """Outputs come by signature name, float32, without the batch axis."""
    model = load_model(_bytes("tiny.tflite"))
    out = model.predict(_sample())
    assert {name: value.shape for name, value in out.items()} == SHAPES
    assert {value.dtype for value in out.values()} == {np.dtype(np.float32)}
    assert out["probabilities"].sum() == pytest.approx(1.0, abs=1e-5)
    assert {spec.name: spec.shape for spec in model.outputs} == SHAPES
    assert model.inputs[0].shape == (100, 6)


def test_a_model_without_signature_answers_by_tensor_name() -> None:
    """Without a signature the same numbers come under the tensors' own names."""
    plain = load_model(_bytes("tiny-plain.tflite")).predict(_sample())
    named = load_model(_bytes("tiny.tflite")).predict(_sample())
    by_shape = [value for value in plain.values() if value.shape == (7,)]
    np.testing.assert_allclose(by_shape[0], named["probabilities"], atol=1e-6)


def test_quantized_input_and_output_take_and_give_floats() -> None:
    """An int8 model agrees with its float twin to within its steps."""
    model = load_model(_bytes("tiny-int8.tflite"))
    assert model.inputs[0].dtype == "int8"
    out = model.predict(_sample())
    twin = load_model(_bytes("tiny.tflite")).predict(_sample())
    np.testing.assert_allclose(out["probabilities"], twin["probabilities"], atol=0.05)


def test_outputs_are_the_callers_own() -> None:
    """A later prediction does not change what an earlier one returned."""
    model = load_model(_bytes("tiny.tflite"))
    first = model.predict(_sample())["probabilities"]
    kept = first.copy()
    model.predict(_sample() * 5)
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("cut", [0, 8, 1000, 3000])
def test_damaged_bytes_do_not_load(cut: int) -> None:
    """A file that is cut short is refused with a code; an older runtime may crash."""
    data = _bytes("tiny.tflite")[:cut]
    if installed_runtime().startswith("tflite-runtime"):
        load = "import sys; from edge_agent.runtime.litert import load_model; "
        load += "load_model(sys.stdin.buffer.read())"
        run = [sys.executable, "-c", load]
        assert subprocess.run(run, input=data, check=False).returncode != 0
        return
    with pytest.raises(ModelError) as caught:
        load_model(data)
    assert caught.value.code == "AGENT-MODEL-001"


def test_a_sample_of_another_shape_is_an_error() -> None:
    """The interpreter is never handed a sample that does not fit."""
    with pytest.raises(ModelError) as caught:
        load_model(_bytes("tiny.tflite")).predict(np.zeros((99, 6), np.float32))
    assert caught.value.code == "AGENT-MODEL-004"


def test_a_closed_model_is_an_error() -> None:
    """After close, predict says so."""
    model = load_model(_bytes("tiny.tflite"))
    model.close()
    with pytest.raises(ModelError) as caught:
        model.predict(_sample())
    assert caught.value.code == "AGENT-MODEL-003"


def test_the_runtime_is_named() -> None:
    """Both ways of asking give name and version."""
    assert runtime_name() == installed_runtime()
    assert " " in runtime_name()
