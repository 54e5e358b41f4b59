"""What a release's prediction says, in the form that pairs are compared in. NumPy only.

A class where the model tells one; for a detector the classes that it found; else the
numbers of its first output.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.evidence.statistics import DETECTED, Answer
from edge_agent.wire.manifest import TensorContract

Outputs = Mapping[str, NDArray[Any]]
MAX_VALUES = 32
"""Numbers kept of an answer without classes, spread evenly over it."""
BOX = 4
"""Numbers of a box."""


def answer_of(
    told: tuple[int, float], outputs: Outputs, names: Sequence[str], latency_us: float
) -> Answer:
    """Return a prediction as one side of a pair.

    Args:
        told: The class (-1: the model tells none) and its confidence.
        outputs: Outputs by name, without batch axes.
        names: Names of the outputs in the bundle's order, the telling one first.
        latency_us: How long it took.
    """
    index, confidence = told
    if index >= 0:
        # A quantized softmax may say a little more than 1.
        sure = min(max(confidence, 0.0), 1.0)
        return Answer(index=index, confidence=sure, latency_us=latency_us)
    places = _detector_places([outputs[name].shape for name in names], names)
    if places is not None:
        classes, scores = (outputs[names[place]].ravel() for place in places)
        found = frozenset(int(c) for c in classes[scores >= DETECTED])
        return Answer(found=found, latency_us=latency_us)
    values = outputs[names[0]].ravel()
    if values.size > MAX_VALUES:
        values = values[np.linspace(0, values.size - 1, MAX_VALUES).astype(int)]
    return Answer(values=values.astype(np.float64), latency_us=latency_us)


def is_detector(outputs: Sequence[TensorContract]) -> bool:
    """Tell whether outputs are those of TFLite's detection post-processing.

    Boxes (N, 4), classes (N,), scores (N,) and their count, in that order where the
    names do not tell.
    """
    shapes = [tuple(one.shape) for one in outputs]
    return _detector_places(shapes, [one.name for one in outputs]) is not None


def _detector_places(
    shapes: Sequence[tuple[int, ...]], names: Sequence[str]
) -> tuple[int, int] | None:
    """Return the places of classes and scores; ``None``: it is no detector."""
    boxes = [s for s in shapes if len(s) == 2 and s[1] == BOX]  # noqa: PLR2004 - rows
    if len(shapes) != 4 or len(boxes) != 1:  # noqa: PLR2004 - outputs
        return None
    rows = [place for place, shape in enumerate(shapes) if shape == boxes[0][:1]]
    counts = [shape for shape in shapes if shape in {(), (1,)}]
    if len(rows) != 2 or not counts:  # noqa: PLR2004 - classes and scores
        return None
    first, second = rows
    swapped = "score" in names[first].lower() or "class" in names[second].lower()
    return (second, first) if swapped else (first, second)
