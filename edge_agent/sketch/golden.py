"""Golden inputs: samples with the answers that a model must give to them.

Recorded on the device's runtime when a bundle is made; the hub's probe and the device's
self-test ask the model again. An npz file holds, for ``n`` samples, ``input:NAME``
``(n, …)`` for every input, and ``output:NAME`` ``(n, …)`` with one number ``atol:NAME``
for every output that is compared: each element may differ by that much. Older bundles
have ``x``, ``probabilities`` and ``atol`` for the first input and the first output.
"""

import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.wire.manifest import (
    MAX_ARTIFACT_BYTES,
    AnswerKind,
    Bundle,
    TensorContract,
)

Array = NDArray[Any]

MAX_SAMPLES = 256
_INPUT, _OUTPUT, _ATOL = "input:", "output:", "atol:"
_OLD = {"x", "probabilities", "atol"}
_KINDS = "fiub"
_RATIOS = {AnswerKind.PROBABILITIES, AnswerKind.SIGMOID}
_UNREADABLE = (
    OSError,
    EOFError,
    KeyError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """Golden inputs and outputs by name, each of shape ``(n, …)``."""

    inputs: dict[str, Array]
    outputs: dict[str, Array]
    atol: dict[str, float]

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(next(iter(self.inputs.values())))

    def sample(self, place: int) -> dict[str, Array]:
        """Return the inputs of one sample."""
        return {name: values[place] for name, values in self.inputs.items()}

    def fault(self, place: int, answers: Mapping[str, Array]) -> str:
        """Return what is wrong with the answers to one sample, or nothing.

        Args:
            place: Which sample.
            answers: The model's outputs by name, without batch axis.
        """
        for name, expected in self.outputs.items():
            if name not in answers:
                return f"the model has no output named {name!r}"
            found, wanted = answers[name], expected[place]
            if found.shape != wanted.shape:
                return f"output {name!r} has shape {found.shape}, not {wanted.shape}"
            off = np.abs(found.astype(np.float64) - wanted.astype(np.float64)).max()
            # Not "off > atol": a NaN must not pass.
            if not off <= self.atol[name]:
                return (
                    f"golden input {place}: output {name!r} is off by {off:.4g},"
                    f" tolerance {self.atol[name]:.4g}"
                )
        return ""


def read_golden(data: bytes, bundle: Bundle) -> Golden:
    """Read golden inputs and check that they fit their bundle.

    Raises:
        ValueError: They are no npz file, hold something else than numbers, or do not
            fit the bundle's inputs and outputs.
    """
    arrays = _read_arrays(data)
    if set(arrays) >= _OLD:
        golden = Golden(
            inputs={bundle.input.tensor.name: arrays["x"]},
            outputs={bundle.outputs[0].name: arrays["probabilities"]},
            atol={bundle.outputs[0].name: _number(arrays["atol"])},
        )
    else:
        outputs = _named(arrays, _OUTPUT)
        tolerances = _named(arrays, _ATOL)
        golden = Golden(
            inputs=_named(arrays, _INPUT),
            outputs=outputs,
            atol={name: _number(tolerances.get(name)) for name in outputs},
        )
    _check_fit(golden, bundle)
    return golden


def write_golden(golden: Golden) -> bytes:
    """Return golden inputs as an npz file."""
    arrays = {
        **{_INPUT + name: values for name, values in golden.inputs.items()},
        **{_OUTPUT + name: values for name, values in golden.outputs.items()},
        **{_ATOL + name: np.float64(atol) for name, atol in golden.atol.items()},
    }
    buffer = io.BytesIO()
    # Not numpy's savez: before numpy 2 that takes "allow_pickle" for one more array.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, values in arrays.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, np.asarray(values), allow_pickle=False)
    return buffer.getvalue()


def _read_arrays(data: bytes) -> dict[str, Array]:
    """Read all arrays, never a pickle and never more than an artifact."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(i.file_size for i in archive.infolist()) > MAX_ARTIFACT_BYTES:
                raise ValueError("it inflates too far")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except _UNREADABLE as error:
        raise ValueError(f"it cannot be read: {error}") from error
    for name, array in found.items():
        if array.dtype.kind not in _KINDS or not np.isfinite(array).all():
            raise ValueError(f"{name} holds something else than finite numbers")
    return found


def _named(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def _number(array: Array | None) -> float:
    if array is None or array.shape != () or float(array) < 0:
        raise ValueError("every output needs a tolerance: one number, 0 or more")
    return float(array)


def _check_fit(golden: Golden, bundle: Bundle) -> None:
    inputs = {contract.tensor.name: contract.tensor for contract in bundle.inputs}
    outputs = {tensor.name: tensor for tensor in bundle.outputs}
    if set(golden.inputs) != set(inputs):
        raise ValueError(f"it has inputs {sorted(golden.inputs)}, not {sorted(inputs)}")
    if not golden.outputs or not set(golden.outputs) <= set(outputs):
        raise ValueError(
            f"it has outputs {sorted(golden.outputs)}, the model {sorted(outputs)}"
        )
    first = golden.inputs[bundle.input.tensor.name]
    count = len(first) if first.ndim else 0
    if not 0 < count <= MAX_SAMPLES:
        raise ValueError(f"it has {count} samples, 1 to {MAX_SAMPLES} are possible")
    if bundle.kind in _RATIOS and golden.atol.get(bundle.outputs[0].name, 0.0) >= 1:
        raise ValueError("a tolerance of 1 or more lets any probability pass")
    for name, array in golden.inputs.items():
        _check_array(array, inputs[name], count)
    for name, array in golden.outputs.items():
        _check_array(array, outputs[name], count)


def _check_array(array: Array, tensor: TensorContract, count: int) -> None:
    wanted = (count, *tensor.shape)
    if array.shape != wanted:
        raise ValueError(f"{tensor.name} has shape {array.shape}, not {wanted}")
    if array.dtype != tensor.dtype:
        raise ValueError(f"{tensor.name} is {array.dtype}, not {tensor.dtype}")
