"""Which few numbers of a model are worth watching, where nobody chose any.

Class and confidence, the inputs axis by axis, the other outputs element by element;
what is too wide for that is watched by its mean and its spread. About 15 channels see
what hundreds would, and keep an alarm budget that means something.
"""

import math
from collections.abc import Iterator, Sequence

from edge_agent.wire.manifest import InputContract, TensorContract
from edge_agent.wire.profile import MAX_CATEGORIES, Channel, Source

WIDE = 8
"""More axes or elements than this are not watched one by one."""


def choose_channels(
    inputs: Sequence[InputContract],
    outputs: Sequence[TensorContract],
    labels: Sequence[str],
) -> list[Channel]:
    """Return channels, without bin edges, for a model.

    Args:
        inputs: All inputs.
        outputs: All outputs, the telling one first where there are labels.
        labels: Names of the classes; none for a model that answers with values.
    """
    channels = []
    if labels:
        if len(labels) <= MAX_CATEGORIES:
            channels.append(
                Channel(name="class", source=Source.CLASS, categories=list(labels))
            )
        channels.append(Channel(name="confidence", source=Source.CONFIDENCE))
    for place, contract in enumerate(inputs):
        channels += _of_input(contract, first=place == 0, alone=len(inputs) == 1)
    for tensor in outputs[1:] if labels else outputs:
        channels += _of_output(tensor)
    return channels


def _of_input(
    contract: InputContract, *, first: bool, alone: bool
) -> Iterator[Channel]:
    tensor = contract.tensor
    name = "" if first else tensor.name
    prefix = "" if alone else f"{tensor.name}."
    axes = tensor.shape[-1] if tensor.shape else 1
    if axes > WIDE:
        yield Channel(name=f"{prefix}level", source=Source.INPUT_LEVEL, tensor=name)
        yield Channel(name=f"{prefix}spread", source=Source.INPUT_SPREAD, tensor=name)
        return
    called = contract.axes if len(contract.axes) == axes else range(axes)
    kinds = [("mean", Source.INPUT_MEAN)]
    if math.prod(tensor.shape) > axes:
        kinds.append(("std", Source.INPUT_STD))
    for kind, source in kinds:
        for place, axis in enumerate(called):
            yield Channel(
                name=f"{prefix}{kind}.{axis}", source=source, tensor=name, index=place
            )


def _of_output(tensor: TensorContract) -> Iterator[Channel]:
    width = math.prod(tensor.shape)
    if width > WIDE:
        for kind, source in (
            ("level", Source.OUTPUT_LEVEL),
            ("spread", Source.OUTPUT_SPREAD),
        ):
            yield Channel(
                name=f"{tensor.name}.{kind}", source=source, tensor=tensor.name
            )
        return
    for place in range(width):
        yield Channel(
            name=tensor.name if width == 1 else f"{tensor.name}.{place}",
            source=Source.OUTPUT,
            tensor=tensor.name,
            index=place,
        )
