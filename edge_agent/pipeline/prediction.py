"""What a model says of one sample, and who can say it."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_agent.runtime.port import Array, Floats

Sample = NDArray[Any]
"""One input's sample as it came: any shape and dtype until it is validated."""
Given = Sample | Mapping[str, Sample]
"""A sample of a model with one input, or one array for each input by name."""


class ServedBy(StrEnum):
    """Which step of the ladder answered."""

    ACTIVE = "active"
    PREVIOUS = "previous"
    FACTORY = "factory"
    RULE = "rule"


FROM_TOP = frozenset({ServedBy.ACTIVE, ServedBy.FACTORY})
"""The first step: the active release, or the factory model where there is none."""


class Prediction(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One answer. ``outputs`` are all named outputs, floats where they are quantized.

    ``inputs`` is the validated sample of the first input, ``extra`` those of further
    inputs by name. ``index`` is -1, ``label`` empty and ``probabilities`` too where the
    model tells no classes; a rule answers with a label alone. (A struct and not a
    dataclass: a tenth of the time to make one.)
    """

    release: int
    label: str
    index: int
    confidence: float
    probabilities: Floats
    outputs: dict[str, Array]
    inputs: Array
    latency_us: float
    extra: dict[str, Array] = {}


class Predictor(Protocol):
    """What validates a sample and infers it."""

    def predict(self, sample: Given) -> Prediction:
        """Return the prediction of one sample.

        Raises:
            SampleRejectedError: The sample fails a quality check.
            ModelError: The model failed.
        """
        ...

    def close(self) -> None:
        """Free the model."""
        ...


def rule_prediction(label: str) -> Prediction:
    """Return the answer of the rule in the configuration: always ``label``."""
    empty = np.empty(0, np.float32)
    return Prediction(
        release=0,
        label=label,
        index=-1,
        confidence=0.0,
        probabilities=empty,
        outputs={},
        inputs=empty,
        latency_us=0.0,
    )
