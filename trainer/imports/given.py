"""What a person says of a model: refused before it costs a conversion.

The bounds are the wire's own, so that what is accepted here is a bundle that hub and
devices can read. Called by :mod:`trainer.imports.make`.
"""

import math
from collections.abc import Mapping, Sequence

import msgspec

from edge_agent.wire.manifest import InputContract, TensorContract
from edge_agent.wire.types import Name
from trainer.errors import DataError
from trainer.imports.read import Foreign

MAX_VALUES = 1 << 24
"""Numbers in one input: 64 MiB of float32, far more than a sample of a sensor has."""


def check_given(foreign: Foreign, name: str) -> None:
    """Check the options before the model is looked at.

    Raises:
        DataError: One is not of its form, there is no value within the limits, or a
            shape is too large (``TRAINER-IMPORT-013``).
    """
    first = InputContract(
        tensor=TensorContract(name="", shape=[]),
        axes=list(foreign.axes),
        rate_hz=foreign.rate_hz,
        hop=foreign.hop,
    )
    low = first.low if foreign.low is None else foreign.low
    high = first.high if foreign.high is None else foreign.high
    for word in (name, foreign.task or name):
        try:
            msgspec.convert(word, Name)
        except msgspec.ValidationError as error:
            raise _refuse(
                f"{word[:80]!r} is no name: 1 to 64 small letters, digits, dots and"
                " dashes"
            ) from error
    try:
        msgspec.convert(msgspec.to_builtins(first), InputContract)
    except msgspec.ValidationError as error:
        raise _refuse(str(error)) from error
    if not all(map(math.isfinite, (low, high, foreign.rate_hz))) or low >= high:
        raise _refuse(f"no value is between {low:g} and {high:g}")
    for one, shape in foreign.shapes.items():
        if math.prod(shape) > MAX_VALUES:
            raise _refuse(
                f"an input {one!r} of {math.prod(shape)} numbers is too large"
            )


def check_shapes(
    shapes: Mapping[str, Sequence[int]], inputs: Sequence[InputContract]
) -> None:
    """Check that every shape that was given is that of an input.

    Raises:
        DataError: It is not (``TRAINER-IMPORT-013``).
    """
    found = {one.tensor.name: one.tensor.shape for one in inputs}
    for name, shape in shapes.items():
        if found.get(name) != list(shape):
            there = ", ".join(f"{one} {shape}" for one, shape in found.items())
            raise _refuse(
                f"--shape {name}={','.join(map(str, shape))} is of no input: {there}"
            )


def _refuse(why: str) -> DataError:
    return DataError(
        "TRAINER-IMPORT-013", why, cure="see `trainer import --help` for the options"
    )
