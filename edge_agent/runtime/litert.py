"""TFLite files on LiteRT: the only file that imports an interpreter.

``ai-edge-litert`` is the default; ``tflite-runtime`` stands in where it has no wheel
(32-bit ARM). Invariants: a model is loaded from *bytes that the caller has verified*,
never from a path (a file can change between check and use, and a mapped file that is
cut short kills the process); one thread (more gained nothing on small models and cost
25 times under contention); ``set_tensor``, ``invoke``, ``get_tensor`` (views and
signature runners were slower and leave references that make ``invoke`` fail).
"""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import ModelError
from edge_agent.runtime.port import Floats, Model, TensorSpec

SIGNATURE = "serving_default"
_PACKAGES = ("ai-edge-litert", "tflite-runtime")
_NUMBERS = (np.float32, np.int8, np.uint8)


def load_model(data: bytes, *, threads: int = 1, warm_up: int = 3) -> Model:
    """Load a model from verified bytes and warm it up.

    Args:
        data: The whole ``.tflite`` file.
        threads: Threads of one invocation.
        warm_up: Invocations on zeros before the model is handed out; a file that
            crashes mostly does so in its first invocation.

    Raises:
        ModelError: ``AGENT-MODEL-001`` the bytes do not load or run;
            ``AGENT-MODEL-002`` it loads, but needs what the device does not offer
            (several inputs, a batch or dynamic shape, other number formats, or no
            runtime is installed).
    """
    module = _runtime()[1]
    try:
        interpreter = module.Interpreter(model_content=data, num_threads=threads)
        interpreter.allocate_tensors()
        inputs, outputs = _tensors(interpreter)
    except (ValueError, RuntimeError, KeyError, TypeError, MemoryError) as error:
        raise ModelError("AGENT-MODEL-001", f"model does not load: {error}") from error
    _check_supported(inputs, outputs)
    model = _LiteRtModel(interpreter, inputs[0], outputs)
    zeros = np.zeros(model.inputs[0].shape, np.float32)
    for _ in range(warm_up):
        try:
            model.predict(zeros)
        except ModelError as error:
            raise ModelError(
                "AGENT-MODEL-001", f"model does not run: {error.text}"
            ) from error
    return model


def runtime_name() -> str:
    """Return the runtime's name and version, such as ``ai-edge-litert 2.3.0``."""
    return f"{(name := _runtime()[0])} {version(name)}"


def installed_runtime() -> str:
    """Return name and version of what would be loaded, without loading it ("": none).

    For processes that must never import an interpreter.
    """
    for package in _PACKAGES:
        try:
            return f"{package} {version(package)}"
        except PackageNotFoundError:
            continue
    return ""


def _runtime() -> tuple[str, ModuleType]:
    # Plain import statements, so that the import law sees them.
    try:
        from ai_edge_litert import interpreter as litert
    except ModuleNotFoundError:
        pass
    else:
        return _PACKAGES[0], litert
    try:
        from tflite_runtime import interpreter as tflite
    except ModuleNotFoundError as error:
        raise ModelError(
            "AGENT-MODEL-002",
            "no TFLite runtime is installed",
            cure="install shoal[agent]",
        ) from error
    return _PACKAGES[1], tflite


class _Interpreter(Protocol):
    """What both runtimes' interpreters offer and this file uses."""

    def get_signature_list(self) -> dict[str, Any]: ...
    def get_signature_runner(self, key: str) -> Any: ...  # noqa: ANN401 - theirs
    def get_input_details(self) -> list[dict[str, Any]]: ...
    def get_output_details(self) -> list[dict[str, Any]]: ...
    def set_tensor(self, index: int, value: NDArray[Any]) -> None: ...
    def get_tensor(self, index: int) -> NDArray[Any]: ...
    def invoke(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tensor:
    """Where a tensor is, and how its numbers become floats."""

    name: str
    index: int
    dtype: type[np.generic]
    shape: tuple[int, ...]
    scale: float
    zero_point: int

    def spec(self) -> TensorSpec:
        return TensorSpec(
            name=self.name, dtype=np.dtype(self.dtype).name, shape=self.shape[1:]
        )

    def from_floats(self, values: Floats) -> NDArray[Any]:
        if not self.scale:
            return np.ascontiguousarray(values, self.dtype)
        low, high = (0, 255) if self.dtype is np.uint8 else (-128, 127)
        steps = np.rint(values / self.scale) + self.zero_point
        quantized: NDArray[Any] = np.clip(steps, low, high).astype(self.dtype)
        return quantized

    def to_floats(self, values: NDArray[Any]) -> Floats:
        if not self.scale:
            return values.astype(np.float32, copy=False)
        steps = values.astype(np.float32) - np.float32(self.zero_point)
        return steps * np.float32(self.scale)


class _LiteRtModel:
    """One interpreter; see :class:`~edge_agent.runtime.port.Model`."""

    def __init__(
        self, interpreter: _Interpreter, tensor: _Tensor, outputs: tuple[_Tensor, ...]
    ) -> None:
        self._interpreter: _Interpreter | None = interpreter
        self._input = tensor
        self._outputs = outputs
        self.inputs: tuple[TensorSpec, ...] = (tensor.spec(),)
        self.outputs = tuple(output.spec() for output in outputs)

    def predict(self, sample: Floats) -> dict[str, Floats]:
        if sample.shape != self._input.shape[1:]:
            raise ModelError(
                "AGENT-MODEL-004",
                f"sample has shape {sample.shape}, model takes {self._input.shape[1:]}",
            )
        interpreter = self._interpreter
        if interpreter is None:
            raise ModelError("AGENT-MODEL-003", "model is closed")
        try:
            interpreter.set_tensor(
                self._input.index, self._input.from_floats(sample)[np.newaxis]
            )
            interpreter.invoke()
            return {
                out.name: out.to_floats(interpreter.get_tensor(out.index)[0])
                for out in self._outputs
            }
        except (ValueError, RuntimeError) as error:
            raise ModelError("AGENT-MODEL-003", f"model failed: {error}") from error

    def close(self) -> None:
        self._interpreter = None


def _tensors(
    interpreter: _Interpreter,
) -> tuple[tuple[_Tensor, ...], tuple[_Tensor, ...]]:
    if SIGNATURE in interpreter.get_signature_list():
        # The runner is dropped at once: while one lives, invoke fails at times.
        runner = interpreter.get_signature_runner(SIGNATURE)
        inputs, outputs = runner.get_input_details(), runner.get_output_details()
    else:
        inputs = {d["name"]: d for d in interpreter.get_input_details()}
        outputs = {d["name"]: d for d in interpreter.get_output_details()}
    return _describe(inputs), _describe(outputs)


def _describe(details: dict[str, dict[str, Any]]) -> tuple[_Tensor, ...]:
    tensors = []
    for name, detail in details.items():
        shape = detail.get("shape_signature", detail["shape"])
        scale, zero_point = detail["quantization"]
        tensors.append(
            _Tensor(
                name=name,
                index=int(detail["index"]),
                dtype=detail["dtype"],
                shape=tuple(int(n) for n in shape),
                scale=float(scale),
                zero_point=int(zero_point),
            )
        )
    return tuple(tensors)


def _check_supported(inputs: tuple[_Tensor, ...], outputs: tuple[_Tensor, ...]) -> None:
    problem = ""
    if len(inputs) != 1:
        problem = f"it has {len(inputs)} inputs, one is supported"
    for tensor in (*inputs, *outputs):
        if tensor.dtype not in _NUMBERS:
            kind = getattr(tensor.dtype, "__name__", str(tensor.dtype))
            problem = f"tensor {tensor.name!r} is {kind}"
        elif tensor.dtype is not np.float32 and not tensor.scale:
            problem = f"tensor {tensor.name!r} is an integer without a scale"
        elif not tensor.shape or tensor.shape[0] != 1 or min(tensor.shape) < 1:
            problem = f"tensor {tensor.name!r} has shape {tensor.shape}, not batch 1"
    if problem:
        raise ModelError(
            "AGENT-MODEL-002",
            f"model cannot be served: {problem}",
            cure="export it with one float32 or int8 input and a fixed batch of 1",
        )
