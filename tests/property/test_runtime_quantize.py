"""Quantizing and dequantizing against the interpreter's own operators.

The models hold one operator; a scale and a zero point are written into their files.
"""

import struct
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.runtime.litert import load_model, runtime_name
from edge_agent.runtime.port import Array, TensorSpec
from edge_agent.runtime.tensors import Tensor

KINDS = Path(__file__).parents[1] / "data" / "kinds"
SCALE, ZERO_POINT, NUMBERS = 0.0234375610, 5, 64
"""What scripts/make_kind_models.py wrote into the files."""

scales = st.floats(2**-13, 2**13, width=32)
dtypes = st.sampled_from(["int8", "uint8", "int16"])


def _file(kind: str, scale: float, zero_point: int) -> bytes:
    data = (KINDS / f"{kind}.tflite").read_bytes()
    mark = struct.pack("<f", SCALE)
    assert data.count(mark) == 1
    data = data.replace(mark, struct.pack("<f", scale))
    # The zero point is the only int64 vector of length 1 in the file.
    mark = struct.pack("<Iq", 1, ZERO_POINT)
    assert data.count(mark) == 1
    return data.replace(mark, struct.pack("<Iq", 1, zero_point))


def _tensor(dtype: str, scale: float, zero_point: int) -> Tensor:
    return Tensor(
        0,
        TensorSpec(
            name="t",
            dtype=dtype,
            shape=(NUMBERS,),
            scale=float(np.float32(scale)),
            zero_point=zero_point,
        ),
    )


@cache
def _rounds_halves_to_even() -> bool:
    """LiteRT does; tflite-runtime 2.14 rounds them away from zero and divides."""
    return runtime_name().startswith("ai-edge-litert")


def _zero_points(dtype: str) -> st.SearchStrategy[int]:
    low, high = {"int8": (-128, 127), "uint8": (0, 255), "int16": (0, 0)}[dtype]
    return st.integers(low, high)


@st.composite
def quantized(draw: st.DrawFn) -> tuple[Tensor, Array]:
    """Draw a tensor and floats around its range, many of them on halves of steps."""
    dtype, scale = draw(dtypes), draw(scales)
    zero_point = draw(_zero_points(dtype))
    info = np.iinfo(dtype)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    steps = rng.uniform(info.min - 9, info.max + 9, NUMBERS) - zero_point
    steps[::2] = np.floor(steps[::2]) + 0.5
    return _tensor(dtype, scale, zero_point), (steps * scale).astype(np.float32)


@given(quantized())
def test_quantizing_is_the_interpreters_own(case: tuple[Tensor, Array]) -> None:
    """Every float becomes the step that the Quantize operator makes of it."""
    tensor, floats = case
    spec = tensor.spec
    model = load_model(
        _file(f"quantize-{spec.dtype}", spec.scale, spec.zero_point), warm_up=0
    )
    theirs = model.run({"floats": floats[np.newaxis]})["steps"][0]
    ours = tensor.quantize(floats)
    if _rounds_halves_to_even():
        np.testing.assert_array_equal(ours, theirs)
    else:
        exact = floats.astype(float) / spec.scale
        near_half = np.abs(exact - np.floor(exact) - 0.5) < 1e-2
        np.testing.assert_array_equal(ours[~near_half], theirs[~near_half])
        assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1


@given(dtypes, scales, st.data())
def test_dequantizing_is_the_interpreters_own(
    dtype: str, scale: float, data: st.DataObject
) -> None:
    """Every step becomes the float that the Dequantize operator makes of it."""
    zero_point = data.draw(_zero_points(dtype))
    tensor = _tensor(dtype, scale, zero_point)
    info = np.iinfo(dtype)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    steps = rng.integers(info.min, info.max + 1, NUMBERS).astype(dtype)
    model = load_model(_file(f"dequantize-{dtype}", scale, zero_point), warm_up=0)
    theirs = model.run({"steps": steps[np.newaxis]})["floats"][0]
    np.testing.assert_array_equal(tensor.dequantize(steps), theirs)


@given(quantized())
def test_a_quantized_input_takes_the_steps_that_it_would_make(
    case: tuple[Tensor, Array],
) -> None:
    """Floats given to a quantized input are the same as their steps given."""
    tensor, floats = case
    spec = tensor.spec
    model = load_model(
        _file(f"dequantize-{spec.dtype}", spec.scale, spec.zero_point), warm_up=0
    )
    by_floats = model.run({"steps": floats[np.newaxis]})["floats"]
    by_steps = model.run({"steps": tensor.quantize(floats)[np.newaxis]})["floats"]
    np.testing.assert_array_equal(by_floats, by_steps)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
def test_every_step_survives_the_round_trip(dtype: str) -> None:
    """Dequantized and quantized again, each step is itself."""
    info = np.iinfo(dtype)
    steps = np.arange(info.min, info.max + 1).astype(dtype)
    for scale in (1e-4, 0.0234, 0.5, 1 / 3, 250.0):
        tensor = _tensor(dtype, scale, 0)
        np.testing.assert_array_equal(tensor.quantize(tensor.dequantize(steps)), steps)
