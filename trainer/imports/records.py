"""What a bundle records of a model made elsewhere: reference, calibration, golden.

Channels are chosen, since nobody named any; without samples there are none, and the
hub then watches such a release's errors and latency only.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.sketch.channels import extract
from edge_agent.sketch.choice import choose_channels
from edge_agent.sketch.golden import Golden
from edge_agent.sketch.reference import build_reference
from edge_agent.wire.manifest import InputContract, TensorContract
from edge_agent.wire.profile import Channel, ProfileData, ReferenceProfile
from trainer.errors import DataError
from trainer.gate.foreign import Arrays, ModelContract, Told
from trainer.imports.samples import Samples

GOLDEN_INPUTS = 8
ATOL_RATIO = 0.05
"""Answers may be off by this share of their size: kernels differ by processor."""
ATOL_MIN = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """Contents of ``reference.json``, ``golden.npz`` and ``calibration.npz``."""

    reference: ReferenceProfile
    golden: Golden
    calibration: bytes


def record(
    name: str,
    contract: ModelContract,
    arrays: Arrays,
    told: Told,
    samples: Samples | None,
) -> Records:
    """Record what a model said.

    Args:
        name: The model's name.
        contract: What goes in and what comes out.
        arrays: What it was asked.
        told: What it said.
        samples: Where ``arrays`` came from a file: what else the file says.

    Raises:
        DataError: It answered with NaN or infinity (``TRAINER-IMPORT-006``).
    """
    golden = _golden(contract, arrays, told)
    if samples is None:
        return Records(
            reference=ReferenceProfile(
                model=name, channels=[], data=ProfileData(rows=0, counts=[])
            ),
            golden=golden,
            calibration=_npz(np.empty((0, 0)), np.empty(0, np.str_)),
        )
    channels = choose_channels(contract.inputs, contract.outputs, contract.labels)
    values = _values(channels, contract.inputs, arrays, told)
    reference = build_reference(name, channels, values)
    kept = _values(reference.channels, contract.inputs, arrays, told)
    return Records(
        reference=reference, golden=golden, calibration=_npz(kept, samples.group)
    )


def _values(
    channels: Sequence[Channel],
    inputs: Sequence[InputContract],
    arrays: Arrays,
    told: Told,
) -> NDArray[np.float64]:
    first = inputs[0].tensor.name
    extra = {name: array for name, array in arrays.items() if name != first}
    return extract(channels, arrays[first], told.probabilities, told.outputs, extra)


def _golden(contract: ModelContract, arrays: Arrays, told: Told) -> Golden:
    count = len(told.probabilities)
    chosen = np.unique(np.linspace(0, count - 1, GOLDEN_INPUTS).astype(int))
    golden = Golden(
        inputs={name: array[chosen] for name, array in arrays.items()},
        outputs={},
        atol={},
    )
    for place, tensor in enumerate(contract.outputs):
        values = told.outputs[tensor.name]
        if not np.isfinite(values).all():
            raise DataError(
                "TRAINER-IMPORT-006",
                f"output {tensor.name!r} is NaN or infinite",
                cure="give --samples that the model was made for",
            )
        # The first output is always compared. Of the others, whole numbers (a place,
        # a count) may flip on another processor where two answers are close.
        if place == 0 or values.dtype.kind == "f":
            golden.outputs[tensor.name] = values[chosen]
            golden.atol[tensor.name] = _atol(tensor, values)
    return golden


def _atol(tensor: TensorContract, values: NDArray[np.generic]) -> float:
    if np.dtype(tensor.dtype).kind != "f":
        return 0.0
    size = float(np.abs(values.astype(np.float64)).max(initial=0.0))
    return max(ATOL_MIN, ATOL_RATIO * size)


def _npz(values: NDArray[np.float64], group: NDArray[np.str_]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, values=values, group=group)
    return buffer.getvalue()
