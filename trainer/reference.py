"""What a bundle records of its model's behaviour on the device's runtime.

Reference profile (training data), golden inputs with their outputs (the device's
self-test), calibration (held-out streams, for the hub's drift thresholds). All values
come from :mod:`trainer.gate.evaluate` and the device's own sketch code.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.sketch.channels import extract
from edge_agent.sketch.reference import build_reference
from edge_agent.wire.manifest import InputContract, TensorContract
from edge_agent.wire.profile import Channel, ReferenceProfile, Source
from trainer.gate.evaluate import Answers, ask
from trainer.tasks.task import Block, Floats

GOLDEN_INPUTS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model to record: its name, file, outputs (probabilities first).

    ``atol`` is what golden probabilities may differ by on a device.
    """

    name: str
    model: bytes
    outputs: Sequence[TensorContract]
    atol: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """Contents of ``reference.json``, ``golden.npz`` and ``calibration.npz``."""

    reference: ReferenceProfile
    golden: bytes
    calibration: bytes


def channels_of(
    contract: InputContract, outputs: Sequence[TensorContract], labels: Sequence[str]
) -> list[Channel]:
    """Return what is watched: class, confidence, input means, monitoring outputs."""
    channels = [
        Channel(name="class", source=Source.CLASS, categories=list(labels)),
        Channel(name="confidence", source=Source.CONFIDENCE),
    ]
    channels += [
        Channel(name=f"mean.{axis}", source=Source.INPUT_MEAN, index=place)
        for place, axis in enumerate(contract.axes)
    ]
    for output in outputs[1:]:
        width = int(np.prod(output.shape))
        channels += [
            Channel(
                name=output.name if width == 1 else f"{output.name}.{place}",
                source=Source.OUTPUT,
                tensor=output.name,
                index=place,
            )
            for place in range(width)
        ]
    return channels


def record(
    subject: Subject,
    channels: Sequence[Channel],
    known: Floats,
    held_out: Sequence[Block],
) -> Records:
    """Run the model over all data and record what it says.

    Args:
        subject: The model that ships.
        channels: What to watch; those that never vary are dropped.
        known: Training samples, for the reference.
        held_out: Streams of people never trained on, for calibration and golden.
    """
    model, probabilities = subject.model, subject.outputs[0].name
    values = _values(channels, known, ask(model, known, probabilities))
    reference = build_reference(subject.name, channels, values)
    answers = [ask(model, block.x, probabilities) for block in held_out]
    parts = [
        _values(reference.channels, block.x, answer)
        for block, answer in zip(held_out, answers, strict=True)
    ]
    groups = np.repeat([block.group for block in held_out], [len(p) for p in parts])
    x = np.concatenate([block.x for block in held_out])
    said = np.concatenate([answer.probabilities for answer in answers])
    chosen = np.linspace(0, len(x) - 1, GOLDEN_INPUTS).astype(int)
    return Records(
        reference=reference,
        golden=_npz(
            x=x[chosen],
            probabilities=said[chosen].astype(np.float32),
            atol=np.float32(subject.atol),
        ),
        calibration=_npz(values=np.concatenate(parts), group=groups),
    )


def _values(
    channels: Sequence[Channel], x: Floats, answers: Answers
) -> NDArray[np.float64]:
    return extract(channels, x, answers.probabilities, answers.outputs)


def _npz(**arrays: NDArray[np.generic] | np.generic) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer, allow_pickle=False, **{k: np.asarray(v) for k, v in arrays.items()}
    )
    return buffer.getvalue()
