"""Channel values: the few numbers of a sample and its prediction that are watched.

Device, trainer and hub get them from this one function, so a reference profile and a
device's profile can differ only in the data.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.sketch.along import means, spreads, thin
from edge_agent.wire.profile import Channel, Source

Floats = NDArray[np.float32]
Numbers = NDArray[Any]
Values = NDArray[np.float64]

_NONE: Mapping[str, Numbers] = MappingProxyType({})


def extract(
    channels: Sequence[Channel],
    inputs: Numbers,
    probabilities: Floats,
    outputs: Mapping[str, Numbers],
    extra_inputs: Mapping[str, Numbers] = _NONE,
) -> Values:
    """Return the channel values of a batch of samples.

    Args:
        channels: What to extract, in order.
        inputs: The first input, shape ``(n, ..., axes)``; thinned or whole.
        probabilities: Shape ``(n, classes)``.
        outputs: Outputs by name, each of shape ``(n, ...)``.
        extra_inputs: Further inputs by name, each of shape ``(n, ...)``.

    Returns:
        Shape ``(n, len(channels))``; a class is its index as a float.

    Raises:
        KeyError: A channel names a tensor that is not there.
        IndexError: It names an element that its tensor does not have.
    """
    arrays = _Arrays(inputs, probabilities, outputs, extra_inputs)
    values = np.empty((len(inputs), len(channels)))
    # What is not finite comes out as such; the caller rejects that row.
    with np.errstate(over="ignore", invalid="ignore"):
        for place, channel in enumerate(channels):
            values[:, place] = arrays.column(channel)
    return values


class _Arrays:
    """The arrays of one batch, and what was computed of them already."""

    def __init__(
        self,
        inputs: Numbers,
        probabilities: Floats,
        outputs: Mapping[str, Numbers],
        extra_inputs: Mapping[str, Numbers],
    ) -> None:
        self._probabilities = probabilities
        self._inputs = {"": inputs, **extra_inputs}
        self._outputs = outputs
        # One mean of a tensor serves the channels of all its axes.
        self._mean: Callable[[str], Numbers] = cache(
            lambda name: means(thin(self._inputs[name]))
        )
        self._spread: Callable[[str], Numbers] = cache(
            lambda name: spreads(thin(self._inputs[name]))
        )

    def column(self, channel: Channel) -> Numbers:
        name, index = channel.tensor, channel.index
        column: Numbers
        match channel.source:
            case Source.CLASS:
                column = self._probabilities.argmax(axis=1)
            case Source.CONFIDENCE:
                column = self._probabilities.max(axis=1)
            case Source.INPUT_MEAN:
                column = self._mean(name)[:, index]
            case Source.INPUT_STD:
                column = self._spread(name)[:, index]
            case Source.INPUT_LEVEL:
                column = _column(thin(self._inputs[name])).mean(axis=1)
            case Source.INPUT_SPREAD:
                column = _column(thin(self._inputs[name])).std(axis=1)
            case Source.OUTPUT:
                column = _column(self._outputs[name])[:, index]
            case Source.OUTPUT_LEVEL:
                column = _column(self._outputs[name]).mean(axis=1)
            case Source.OUTPUT_SPREAD:
                column = _column(self._outputs[name]).std(axis=1)
        return column


def _column(array: Numbers) -> Numbers:
    flat = array.reshape(len(array), -1)
    # A sum of halves overflows soon.
    return flat.astype(np.float32) if array.dtype == np.float16 else flat
