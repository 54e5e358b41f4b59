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
from edge_agent.runtime.named import FAILURES, NamedModel, Shapes
from edge_agent.runtime.port import FAILED, UNSERVED, Array, Floats
from edge_agent.runtime.tensors import Tensor, spec_of

SIGNATURE = "serving_default"
Details = dict[str, Any]
Tensors = tuple[Tensor, ...]


class Interpreter(Protocol):
    """What both runtimes' interpreters offer and this package uses."""

    def allocate_tensors(self) -> None:
        """Plan and allocate memory."""

    def get_signature_list(self) -> dict[str, Any]:
        """Return the names of inputs and outputs by signature."""

    def get_signature_runner(self, key: str) -> Any:  # noqa: ANN401 - theirs
        """Return what runs one signature, and describes its tensors."""

    def get_input_details(self) -> list[Details]:
        """Describe the main graph's inputs."""

    def get_output_details(self) -> list[Details]:
        """Describe the main graph's outputs."""

    def set_tensor(self, index: int, value: NDArray[Any]) -> None:
        """Copy numbers in."""

    def get_tensor(self, index: int) -> NDArray[Any]:
        """Copy numbers out."""

    def resize_tensor_input(
        self, index: int, size: tuple[int, ...], *, strict: bool
    ) -> None:
        """Give an input another size; strict: only where it is free."""

    def invoke(self) -> None:
        """Run."""


class InterpretedModel(NamedModel):
    """One interpreter; see :class:`~edge_agent.runtime.port.Model`."""

    def __init__(self, make: Callable[[], Interpreter]) -> None:
        """Describe the tensors and allocate them, free dimensions as 1.

        Args:
            make: Returns a new interpreter of the model.

        Raises:
            ModelError: A tensor is of a kind that is not served (``AGENT-MODEL-002``).
        """
        interpreter = make()
        super().__init__(*describe(interpreter))
        interpreter.allocate_tensors()
        self._make = make
        self._interpreter: Interpreter | None = interpreter
        self._reading = [(o.spec.name, o.index, o.read) for o in self._outputs]
        self._single = self._inputs[0].spec.shape if len(self._inputs) == 1 else None

    def predict(self, sample: Floats) -> dict[str, Array]:
        """Run one sample of a model with one input."""
        interpreter = self._interpreter
        if (
            sample.shape != self._single
            or self._shapes is not self._default
            or interpreter is None
        ):
            return super().predict(sample)
        tensor, get_tensor = self._inputs[0], interpreter.get_tensor
        try:
            interpreter.set_tensor(tensor.index, tensor.write(sample))
            interpreter.invoke()
            return {name: read(get_tensor(i)) for name, i, read in self._reading}
        except FAILURES as error:
            raise ModelError(FAILED, f"model failed: {error}") from error

    def close(self) -> None:
        """Free the interpreter."""
        super().close()
        self._interpreter = None

    def _resize(self, shapes: Shapes) -> None:
        interpreter = self._present()
        for tensor, shape in zip(self._inputs, shapes, strict=True):
            interpreter.resize_tensor_input(tensor.index, shape, strict=True)
        interpreter.allocate_tensors()

    def _open_again(self) -> None:
        # tflite-runtime 2.14 dies of a second allocation after one that failed.
        self._interpreter = None
        interpreter = self._make()
        interpreter.allocate_tensors()
        self._interpreter = interpreter

    def _invoke(self, numbers: list[Array]) -> list[Array]:
        interpreter = self._present()
        for tensor, values in zip(self._inputs, numbers, strict=True):
            interpreter.set_tensor(tensor.index, values)
        interpreter.invoke()
        return [interpreter.get_tensor(out.index) for out in self._outputs]

    def _present(self) -> Interpreter:
        if self._interpreter is None:
            raise RuntimeError("there is no interpreter any more")
        return self._interpreter


def describe(
    interpreter: Interpreter,
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
