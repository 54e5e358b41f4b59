"""Channel values: the few numbers of a sample and its prediction that are watched.

Device, trainer and hub get them from this one function, so a reference profile and a
device's profile can differ only in the data.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edge_agent.wire.profile import Channel, Source

Floats = NDArray[np.float32]
Values = NDArray[np.float64]


def extract(
    channels: Sequence[Channel],
    inputs: Floats,
    probabilities: Floats,
    outputs: Mapping[str, Floats],
) -> Values:
    """Return the channel values of a batch of samples.

    Args:
        channels: What to extract, in order.
        inputs: Shape ``(n, ..., axes)``.
        probabilities: Shape ``(n, classes)``.
        outputs: Monitoring outputs by name, each of shape ``(n, ...)``.

    Returns:
        Shape ``(n, len(channels))``; a class is its index as a float.

    Raises:
        KeyError: A channel names an output that is not there.
    """
    flat = inputs.reshape(len(inputs), -1, inputs.shape[-1])
    mean, std = flat.mean(axis=1), flat.std(axis=1)
    values = np.empty((len(inputs), len(channels)))
    for place, channel in enumerate(channels):
        match channel.source:
            case Source.CLASS:
                column = probabilities.argmax(axis=1)
            case Source.CONFIDENCE:
                column = probabilities.max(axis=1)
            case Source.INPUT_MEAN:
                column = mean[:, channel.index]
            case Source.INPUT_STD:
                column = std[:, channel.index]
            case Source.OUTPUT:
                output = outputs[channel.tensor].reshape(len(inputs), -1)
                column = output[:, channel.index]
        values[:, place] = column
    return values
