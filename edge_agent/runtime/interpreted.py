"""A model on the classic interpreter: ``set_tensor``, ``invoke``, ``get_tensor``.

Views and signature runners were slower and leave references that make ``invoke`` fail.
Names are those of the signature ``serving_default``, or of another signature of the
main graph, or the tensors' own where the file has none (old converters). Free
dimensions are set by resizing, only when they change.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

from edge_agent.errors import ModelError
from edge_agent.runtime.port import ANY, FAILED, UNFITTING, UNSERVED, Array, Floats
from edge_agent.runtime.tensors import Tensor, by_name, check_shapes, spec_of

SIGNATURE = "serving_default"
_FAILURES = (ValueError, RuntimeError)

Shapes = tuple[tuple[int, ...], ...]
Details = dict[str, Any]
Tensors = tuple[Tensor, ...]


class _Interpreter(Protocol):
    """What both runtimes' interpreters offer and this file uses."""

    def allocate_tensors(self) -> None: ...
    def get_signature_list(self) -> dict[str, Any]: ...
    def get_signature_runner(self, key: str) -> Any: ...  # noqa: ANN401 - theirs
    def get_input_details(self) -> list[Details]: ...
    def get_output_details(self) -> list[Details]: ...
    def set_tensor(self, index: int, value: NDArray[Any]) -> None: ...
    def get_tensor(self, index: int) -> NDArray[Any]: ...
    def resize_tensor_input(
        self, index: int, size: tuple[int, ...], *, strict: bool
    ) -> None: ...
    def invoke(self) -> None: ...


class InterpretedModel:
    """One interpreter; see :class:`~edge_agent.runtime.port.Model`."""

    def __init__(self, make: Callable[[], _Interpreter]) -> None:
        """Describe the tensors and allocate them, free dimensions as 1.

        Args:
            make: Returns a new interpreter of the model.

        Raises:
            ModelError: A tensor is of a kind that is not served (``AGENT-MODEL-002``).
        """
        self._make = make
        interpreter = make()
        self._inputs, self._outputs = describe(interpreter)
        interpreter.allocate_tensors()
        self._interpreter: _Interpreter | None = interpreter
        self.inputs = tuple(tensor.spec for tensor in self._inputs)
        self.outputs = tuple(tensor.spec for tensor in self._outputs)
        self._default: Shapes = tuple(
            tuple(1 if n == ANY else n for n in spec.full_shape) for spec in self.inputs
        )
        self._shapes = self._default
        self._reading = [(o.spec.name, o.index, o.read) for o in self._outputs]
        self._single = self._inputs[0].spec.shape if len(self._inputs) == 1 else None

    def predict(self, sample: Floats) -> dict[str, Array]:
        """Run one sample of a model with one input."""
        if sample.shape != self._single or self._shapes is not self._default:
            return self._predict_slowly(sample)
        interpreter = self._interpreter
        if interpreter is None:
            raise _closed()
        tensor, get_tensor = self._inputs[0], interpreter.get_tensor
        try:
            interpreter.set_tensor(tensor.index, tensor.write(sample))
            interpreter.invoke()
            return {name: read(get_tensor(i)) for name, i, read in self._reading}
        except _FAILURES as error:
            raise ModelError(FAILED, f"model failed: {error}") from error

    def predict_named(self, samples: Mapping[str, Array]) -> dict[str, Array]:
        """Run one sample given by the names of the inputs."""
        whole = [
            tensor.batched(values)
            for tensor, values in zip(
                self._inputs, by_name(self._inputs, samples), strict=True
            )
        ]
        answers = self._run(whole)
        return {
            out.spec.name: out.read(numbers)
            for out, numbers in zip(self._outputs, answers, strict=True)
        }

    def run(
        self, inputs: Mapping[str, Array], *, dequantize: bool = False
    ) -> dict[str, Array]:
        """Run whole tensors, with their batch axes."""
        answers = self._run(by_name(self._inputs, inputs))
        return {
            out.spec.name: out.give(numbers) if dequantize else numbers
            for out, numbers in zip(self._outputs, answers, strict=True)
        }

    def close(self) -> None:
        """Free the interpreter."""
        self._interpreter = None

    def _predict_slowly(self, sample: Array) -> dict[str, Array]:
        """Take what the fast way does not: sizes other than the last, and mistakes."""
        if len(self._inputs) != 1:
            names = [spec.name for spec in self.inputs]
            raise ModelError(
                UNFITTING, f"the model takes several inputs by name: {names}"
            )
        return self.predict_named({self.inputs[0].name: sample})

    def _run(self, given: list[Array]) -> list[Array]:
        interpreter = self._interpreter
        if interpreter is None:
            raise _closed()
        check_shapes(self.inputs, [values.shape for values in given])
        numbers = [t.take(v) for t, v in zip(self._inputs, given, strict=True)]
        shapes = tuple(array.shape for array in numbers)
        if shapes == self._shapes:
            try:
                return self._invoke(interpreter, numbers)
            except _FAILURES as error:
                raise ModelError(FAILED, f"model failed: {error}") from error
        try:
            self._resize(interpreter, shapes)
            return self._invoke(interpreter, numbers)
        except _FAILURES as error:
            self._start_again()
            raise ModelError(
                "AGENT-MODEL-012",
                f"the model does not run with inputs of {list(shapes)}: {error}",
                cure="send samples one at a time",
            ) from error

    def _resize(self, interpreter: _Interpreter, shapes: Shapes) -> None:
        for tensor, shape in zip(self._inputs, shapes, strict=True):
            interpreter.resize_tensor_input(tensor.index, shape, strict=True)
        interpreter.allocate_tensors()
        self._shapes = self._default if shapes == self._default else shapes

    def _start_again(self) -> None:
        # tflite-runtime 2.14 dies of a second allocation after one that failed.
        self._interpreter, self._shapes = None, self._default
        try:
            interpreter = self._make()
            interpreter.allocate_tensors()
        except _FAILURES as error:
            raise ModelError(FAILED, f"model failed: {error}") from error
        self._interpreter = interpreter

    def _invoke(self, interpreter: _Interpreter, numbers: list[Array]) -> list[Array]:
        for tensor, values in zip(self._inputs, numbers, strict=True):
            interpreter.set_tensor(tensor.index, values)
        interpreter.invoke()
        return [interpreter.get_tensor(out.index) for out in self._outputs]


def describe(
    interpreter: _Interpreter,
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return the inputs and outputs of an interpreter.

    Raises:
        ModelError: A tensor is of a kind that is not served (``AGENT-MODEL-002``), or
            ``serving_default`` is not the main graph.
    """
    inputs = _by_own_name(interpreter.get_input_details())
    outputs = _by_own_name(interpreter.get_output_details())
    signatures = list(interpreter.get_signature_list())
    for key in sorted(signatures, key=lambda key: key != SIGNATURE):
        # The runner is dropped at once: while one lives, invoke fails at times.
        runner = interpreter.get_signature_runner(key)
        named = runner.get_input_details(), runner.get_output_details()
        del runner
        if _same(named[0], inputs) and _same(named[1], outputs):
            return _tensors(named[0]), _tensors(named[1])
    if SIGNATURE in signatures:
        raise ModelError(
            UNSERVED,
            f"model cannot be served: {SIGNATURE} is not its main graph",
            cure="export it with a single signature",
        )
    return _tensors(inputs), _tensors(outputs)


def _by_own_name(details: list[Details]) -> dict[str, Details]:
    """Name tensors as the file does, and by their numbers where that is not enough."""
    names = Counter(str(detail["name"]) for detail in details)
    named = {}
    for detail in details:
        name = str(detail["name"])
        alone = name and names[name] == 1
        named[name if alone else f"{name}#{detail['index']}"] = detail
    return named


def _same(named: Mapping[str, Details], main: Mapping[str, Details]) -> bool:
    return {d["name"] for d in named.values()} == {d["name"] for d in main.values()}


def _tensors(details: Mapping[str, Details]) -> tuple[Tensor, ...]:
    return tuple(_tensor(name, detail) for name, detail in details.items())


def _tensor(name: str, detail: Details) -> Tensor:
    scales = detail["quantization_parameters"]
    spec = spec_of(
        name,
        detail["dtype"],
        tuple(int(n) for n in detail["shape_signature"]),
        scales["scales"],
        scales["zero_points"],
    )
    return Tensor(int(detail["index"]), spec)


def _closed() -> ModelError:
    return ModelError(FAILED, "model is closed")
