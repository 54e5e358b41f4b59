"""Measurements of a model made elsewhere, on the device's interpreter.

Beside :mod:`trainer.gate.evaluate` the only module of the trainer that touches the
runtime. Samples are one array for each input; answers one for each output.
"""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edge_agent.runtime.fit import ask
from edge_agent.runtime.litert import load_model
from edge_agent.runtime.port import Array
from edge_agent.runtime.telling import (
    ModelContract,
    contract_of_model,
    probabilities_of,
    trial_samples,
)

__all__ = ["Arrays", "ModelContract", "Told", "ask_all", "look_at", "trial_arrays"]

Arrays = dict[str, Array]
"""Arrays by name, each of shape ``(n, …)``."""
_TIMED = 32
_ROUNDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a model says to ``n`` samples: its outputs, and one probability a class."""

    outputs: Arrays
    probabilities: Array
    latency_us: float


def look_at(
    model: bytes, labels: Sequence[str], shapes: Mapping[str, Sequence[int]]
) -> ModelContract:
    """Return what goes into a model and what comes out.

    Args:
        model: The TFLite file.
        labels: Names of its classes where they are known.
        shapes: Of one sample, for inputs whose dimensions are free.

    Raises:
        ShoalError: No device can run it, or it does not fit the labels or the shapes.
    """
    loaded = load_model(model)
    try:
        return contract_of_model(loaded, labels, shapes)
    finally:
        loaded.close()


def trial_arrays(contract: ModelContract) -> Arrays:
    """Return a few seeded samples within the limits."""
    samples = trial_samples(contract.inputs)
    return {name: np.stack([one[name] for one in samples]) for name in samples[0]}


def ask_all(model: bytes, contract: ModelContract, samples: Arrays) -> Told:
    """Run a model over samples one by one, as a device does.

    Raises:
        ShoalError: The device could not load or run it.
    """
    count = len(next(iter(samples.values())))
    loaded = load_model(model)
    try:
        answers = [ask(loaded, _sample(samples, place)) for place in range(count)]
        rounds = []
        for _ in range(_ROUNDS):
            times = []
            for place in range(min(count, _TIMED)):
                sample = _sample(samples, place)
                started = time.perf_counter()
                ask(loaded, sample)
                times.append((time.perf_counter() - started) * 1e6)
            rounds.append(statistics.median(times))
    finally:
        loaded.close()
    names = [tensor.name for tensor in contract.outputs]
    outputs = {name: np.stack([one[name] for one in answers]) for name in names}
    told = [probabilities_of(contract.kind, one) for one in outputs[names[0]]]
    return Told(
        outputs=outputs,
        probabilities=np.stack(told),
        latency_us=round(min(rounds), 2),
    )


def _sample(samples: Arrays, place: int) -> Arrays:
    return {name: values[place] for name, values in samples.items()}
