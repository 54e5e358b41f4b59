"""What models have in common, whatever runs them: names, shapes, conversions, sizes.

A backend says how tensors are set, run and read, how free dimensions are set, and how
it is opened again after a size that it could not take.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from edge_agent.errors import ModelError
from edge_agent.runtime.port import ANY, FAILED, UNFITTING, Array, Floats, TensorSpec
from edge_agent.runtime.tensors import Tensor, by_name, check_shapes

FAILURES = (ValueError, RuntimeError)
"""What runtimes raise."""

Shapes = tuple[tuple[int, ...], ...]


class NamedModel(ABC):
    """A model by the names of its tensors; see :class:`~edge_agent.runtime.port.Model`.

    Invariant: the backend's inputs have the sizes of ``_shapes``.
    """

    def __init__(self, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> None:
        """Begin with free dimensions of 1."""
        self._inputs, self._outputs = inputs, outputs
        self.inputs: tuple[TensorSpec, ...] = tuple(one.spec for one in inputs)
        self.outputs: tuple[TensorSpec, ...] = tuple(one.spec for one in outputs)
        self._default: Shapes = tuple(
            tuple(1 if n == ANY else n for n in spec.full_shape) for spec in self.inputs
        )
        self._shapes = self._default
        self._is_open = True

    def predict(self, sample: Floats) -> dict[str, Array]:
        """Run one sample of a model with one input."""
        if len(self._inputs) != 1:
            names = [spec.name for spec in self.inputs]
            raise ModelError(
                UNFITTING, f"the model takes several inputs by name: {names}"
            )
        return self.predict_named({self.inputs[0].name: sample})

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
        """Free the backend."""
        self._is_open = False

    @abstractmethod
    def _resize(self, shapes: Shapes) -> None:
        """Give the inputs these sizes."""

    @abstractmethod
    def _open_again(self) -> None:
        """Begin anew, with the first sizes."""

    @abstractmethod
    def _invoke(self, numbers: list[Array]) -> list[Array]:
        """Run the inputs' numbers, in order; return the outputs', in order."""

    def _run(self, given: list[Array]) -> list[Array]:
        if not self._is_open:
            raise ModelError(FAILED, "model is closed")
        check_shapes(self.inputs, [values.shape for values in given])
        numbers = [t.take(v) for t, v in zip(self._inputs, given, strict=True)]
        shapes = tuple(array.shape for array in numbers)
        if shapes == self._shapes:
            try:
                return self._invoke(numbers)
            except FAILURES as error:
                raise ModelError(FAILED, f"model failed: {error}") from error
        try:
            self._resize(shapes)
            self._shapes = self._default if shapes == self._default else shapes
            return self._invoke(numbers)
        except FAILURES as error:
            self._start_again()
            raise ModelError(
                "AGENT-MODEL-012",
                f"the model does not run with inputs of {list(shapes)}: {error}",
                cure="send samples one at a time",
            ) from error

    def _start_again(self) -> None:
        self._shapes = self._default
        try:
            self._open_again()
        except FAILURES as error:
            self._is_open = False
            raise ModelError(FAILED, f"model failed: {error}") from error
