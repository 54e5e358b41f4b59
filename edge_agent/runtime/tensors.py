"""How a tensor's numbers come from floats and become floats again.

Rounding is that of the interpreter's own Quantize operator: times the reciprocal of the
scale in float32, to the nearest step, halves to the even one, then cut to the format's
range. NumPy only.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter

import numpy as np
from numpy.typing import DTypeLike

from edge_agent.errors import ModelError
from edge_agent.runtime.port import ANY, UNFITTING, UNSERVED, Array, TensorSpec

Convert = Callable[[Array], Array]

SERVED_KINDS = "fiub"
"""NumPy's kinds of numbers that devices serve: float, integer, unsigned, boolean."""


class Tensor:
    """A tensor of the interpreter: its number, its spec, and how to convert for it."""

    __slots__ = (
        "_high",
        "_low",
        "_per_scale",
        "_scale",
        "_table",
        "_zero_point",
        "dtype",
        "index",
        "read",
        "spec",
        "write",
    )

    def __init__(self, index: int, spec: TensorSpec) -> None:
        """Work out what every conversion needs.

        Args:
            index: The tensor's number.
            spec: What it is.
        """
        self.index, self.spec = index, spec
        self.dtype = np.dtype(spec.dtype)
        # Arrays of no axis: NumPy takes a third of a microsecond for a Python number.
        self._scale = np.array(spec.scale, np.float32)
        self._zero_point = np.array(spec.zero_point, np.float32)
        self._table: Array | None = None
        if spec.quantized:
            self._per_scale = np.array(np.float32(1) / self._scale)
            limits = np.iinfo(self.dtype)
            self._low = np.array(limits.min, np.float32)
            self._high = np.array(limits.max, np.float32)
            if self.dtype.itemsize == 1:
                bits = np.arange(256, dtype=np.uint8)
                self._table = self._by_formula(bits.view(self.dtype))
        self.write: Convert = self._writer()
        """From one valid float sample, or numbers as they are, to the whole tensor."""
        self.read: Convert = self._reader()
        """From the whole tensor to one answer, as floats where it is quantized."""

    def quantize(self, values: Array) -> Array:
        """Return floats as the tensor's steps; finite values are assumed."""
        steps = np.multiply(values, self._per_scale, dtype=np.float32)
        np.rint(steps, out=steps)
        steps += self._zero_point
        steps.clip(self._low, self._high, out=steps)
        return steps.astype(self.dtype)

    def dequantize(self, steps: Array) -> Array:
        """Return the tensor's steps as float32."""
        if self._table is None:
            return self._by_formula(steps)
        values: Array = self._table.take(steps.view(np.uint8))
        return values

    def _by_formula(self, steps: Array) -> Array:
        values = steps.astype(np.float32)
        values -= self._zero_point
        values *= self._scale
        return values

    def _writer(self) -> Convert:
        if not self.spec.quantized:
            return self.batched
        return lambda sample: self.batched(self.quantize(sample))

    def _reader(self) -> Convert:
        if self.spec.quantized:
            return lambda numbers: self.dequantize(self.single(numbers))
        return itemgetter(0) if self.spec.batch else _as_is

    def take(self, values: Array) -> Array:
        """Return values as the tensor's own numbers, in C order.

        Raises:
            ModelError: They cannot be converted without loss (``AGENT-MODEL-004``).
        """
        if values.dtype == self.dtype:
            return np.asarray(values, order="C")
        if self.spec.quantized and values.dtype.kind == "f":
            if not np.isfinite(values).all():
                raise self._refuse("NaN or infinite values")
            with np.errstate(over="ignore"):
                return self.quantize(values)
        if values.dtype.kind not in SERVED_KINDS:
            raise self._refuse(f"values of type {values.dtype}")
        with np.errstate(all="ignore"):
            converted = values.astype(self.dtype)
        floats = values.dtype.kind == "f" and self.dtype.kind == "f"
        if not floats and not np.array_equal(converted, values):
            raise self._refuse(f"some of these {values.dtype} values")
        return converted

    def give(self, numbers: Array) -> Array:
        """Return what the interpreter answered, as float32 where it is quantized."""
        return self.dequantize(numbers) if self.spec.scale else numbers

    def batched(self, values: Array) -> Array:
        """Return one sample with the tensor's batch axis."""
        return values[np.newaxis] if self.spec.batch else values

    def single(self, numbers: Array) -> Array:
        """Return the first of a batch, or the whole where there is no batch axis."""
        return numbers[0] if self.spec.batch else numbers

    def _refuse(self, what: str) -> ModelError:
        return ModelError(
            UNFITTING,
            f"input {self.spec.name!r} is {self.spec.dtype} and cannot take {what}",
        )


def _as_is(numbers: Array) -> Array:
    return numbers


def spec_of(
    name: str, dtype: DTypeLike, shape: tuple[int, ...], scales: Array, zeros: Array
) -> TensorSpec:
    """Return the spec of a tensor as an interpreter describes it.

    Args:
        name: Its name.
        dtype: The type the interpreter gives.
        shape: The shape in the file; below 1 where a dimension is free.
        scales: Its scales, none where it is not quantized.
        zeros: Its zero points.

    Raises:
        ModelError: No device serves such a tensor (``AGENT-MODEL-002``).
    """
    numbers = np.dtype(dtype)
    if numbers.kind not in SERVED_KINDS:
        raise _unserved(name, numbers)
    if len(scales) > 1:
        raise ModelError(
            UNSERVED,
            f"model cannot be served: tensor {name!r} has a scale for each channel",
            cure="quantize inputs and outputs per tensor",
        )
    free = tuple(n if n > 0 else ANY for n in shape)
    batch = free[0] if free and free[0] in (1, ANY) else 0
    return TensorSpec(
        name=name,
        dtype=numbers.name,
        shape=free[1:] if batch else free,
        batch=batch,
        scale=float(scales[0]) if len(scales) else 0.0,
        zero_point=int(zeros[0]) if len(scales) else 0,
    )


def by_name(tensors: tuple[Tensor, ...], given: Mapping[str, Array]) -> list[Array]:
    """Return the given arrays in the order of the tensors.

    Raises:
        ModelError: A name is missing or unknown (``AGENT-MODEL-004``).
    """
    names = [tensor.spec.name for tensor in tensors]
    if len(given) != len(names) or any(name not in given for name in names):
        raise ModelError(
            UNFITTING,
            f"inputs {sorted(given)} were given, the model takes {names}",
        )
    return [np.asarray(given[name]) for name in names]


def check_shapes(
    specs: Sequence[TensorSpec], shapes: Sequence[tuple[int, ...]]
) -> None:
    """Check the shapes of whole tensors, batch axes included.

    Raises:
        ModelError: One does not fit, or their batches differ (``AGENT-MODEL-004``).
    """
    for spec, shape in zip(specs, shapes, strict=True):
        wanted = spec.full_shape
        same_rank = len(shape) == len(wanted)
        if not same_rank or not all(map(_fits, shape, wanted)):
            raise ModelError(
                UNFITTING,
                f"input {spec.name!r} has shape {list(shape)}, not {list(wanted)}",
                cure="send samples one at a time" if same_rank else "",
            )
    batches = {
        shape[0] for spec, shape in zip(specs, shapes, strict=True) if spec.batch == ANY
    }
    if len(batches) > 1:
        raise ModelError(UNFITTING, f"inputs have different batches: {sorted(batches)}")


def _fits(have: int, want: int) -> bool:
    return have == want or (want == ANY and have > 0)


def _unserved(name: str, numbers: np.dtype[np.generic]) -> ModelError:
    texts = numbers.kind in "SOU"
    return ModelError(
        UNSERVED,
        f"model cannot be served: tensor {name!r} holds"
        f" {'texts' if texts else numbers.name + ' numbers'}",
        cure="turn texts into numbers before the model, such as int32 token numbers"
        if texts
        else "let it answer with real and imaginary parts, or with magnitudes",
    )
