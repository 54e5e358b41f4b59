"""What a model says of one sample, and who can say it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_agent.runtime.port import Floats

Sample = NDArray[Any]
"""A sample as it came: any shape and dtype until it is validated."""


class ServedBy(StrEnum):
    """Which step of the ladder answered."""

    ACTIVE = "active"
    PREVIOUS = "previous"
    RULE = "rule"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One answer. ``inputs`` is the validated sample, ``outputs`` all named outputs.

    ``index`` is -1 and ``probabilities`` empty where a rule answered.
    """

    release: int
    label: str
    index: int
    confidence: float
    probabilities: Floats
    outputs: dict[str, Floats]
    inputs: Floats
    latency_us: float


class Predictor(Protocol):
    """What validates a sample and infers it."""

    def predict(self, sample: Sample) -> Prediction:
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
