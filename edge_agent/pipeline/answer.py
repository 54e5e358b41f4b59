"""Which class a model's outputs tell, how surely, and whether two models agree."""

import math
from collections.abc import Callable, Mapping

import numpy as np

from edge_agent.errors import ModelError
from edge_agent.pipeline.prediction import Prediction
from edge_agent.runtime.port import Array, Floats
from edge_agent.runtime.telling import NO_CLASSES, ModelContract, probabilities_of
from edge_agent.wire.manifest import AnswerKind

Reader = Callable[[Mapping[str, Array]], tuple[Floats, int, float]]

FAR = 0.1
"""Two answers in numbers are the same within a tenth of their size."""


def is_finite(output: Array) -> bool:
    """Tell whether an output holds neither NaN nor infinity."""
    if output.dtype.kind != "f":
        return True
    # A sum of squares is a third of the price, and seldom too large for float32.
    if output.dtype == np.float32 and math.isfinite(np.vdot(output, output)):
        return True
    return bool(np.isfinite(output).all())


def reader_of(contract: ModelContract) -> Reader:
    """Return what reads probabilities, the class's place and its confidence.

    The reader raises :class:`~edge_agent.errors.ModelError` (``AGENT-MODEL-005``) where
    an output that tells something is not finite.
    """
    kind, telling = contract.kind, contract.outputs[0].name

    def read_values(outputs: Mapping[str, Array]) -> tuple[Floats, int, float]:
        if not all(map(is_finite, outputs.values())):
            raise _not_finite()
        return NO_CLASSES, -1, 0.0

    def read_class(outputs: Mapping[str, Array]) -> tuple[Floats, int, float]:
        probabilities = outputs[telling]
        if kind is not AnswerKind.PROBABILITIES or probabilities.ndim != 1:
            probabilities = probabilities_of(kind, probabilities)
        # The sum of squares carries NaN and infinities, at a third of the price.
        if not math.isfinite(probabilities.dot(probabilities)):
            raise _not_finite()
        index = int(probabilities.argmax())
        return probabilities, index, probabilities.item(index)

    return read_values if kind is AnswerKind.VALUES else read_class


def _not_finite() -> ModelError:
    return ModelError("AGENT-MODEL-005", "model answered NaN or infinity")


def disagree(one: Prediction, other: Prediction) -> bool:
    """Tell whether two models say something else of a sample.

    Other classes; without classes, an output that is not there, has another shape, or
    is off by more than :data:`FAR` of its size.
    """
    if one.label or other.label:
        return one.label != other.label
    if one.outputs.keys() != other.outputs.keys():
        return True
    return any(_far(one.outputs[name], other.outputs[name]) for name in one.outputs)


def _far(one: Array, other: Array) -> bool:
    if one.shape != other.shape:
        return True
    a, b = one.astype(np.float64), other.astype(np.float64)
    size = max(np.linalg.norm(a), np.linalg.norm(b))
    return bool(np.linalg.norm(a - b) > FAR * size)
