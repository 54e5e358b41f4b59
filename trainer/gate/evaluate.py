"""Measurements of a TFLite file, made with the device's own interpreter.

The only module of the trainer that touches the runtime: what the gate, the choice of
variants, the reference profile and the golden outputs say is what devices will see.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edge_agent.runtime.litert import load_model, runtime_name
from edge_agent.runtime.port import TensorSpec
from edge_agent.wire.manifest import Bundle
from trainer.gate.verdict import Score
from trainer.tasks.task import Block, Floats

_LATENCY_SAMPLES = 64
_ROUNDS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """A model's outputs by name, each of shape ``(n, …)``."""

    probabilities: Floats
    outputs: dict[str, Floats]


def outputs_of(model: bytes) -> tuple[TensorSpec, ...]:
    """Return the outputs that a model has.

    Raises:
        ShoalError: The device could not load it.
    """
    loaded = load_model(model)
    try:
        return loaded.outputs
    finally:
        loaded.close()


def ask(model: bytes, x: Floats, probabilities: str) -> Answers:
    """Run a model over samples ``x`` ``(n, *shape)``, one by one as a device does.

    Raises:
        ShoalError: The device could not load or run it.
    """
    loaded = load_model(model)
    try:
        rows = [loaded.predict(sample) for sample in x]
    finally:
        loaded.close()
    outputs = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    return Answers(probabilities=outputs[probabilities], outputs=outputs)


def latencies_us(models: Mapping[str, bytes], x: Floats) -> dict[str, float]:
    """Return each model's median latency in microseconds, measured in turns.

    Turns, and the least of the rounds' medians, keep other load out of the ratio.
    """
    loaded = {name: load_model(data) for name, data in models.items()}
    samples = x[:_LATENCY_SAMPLES]
    medians: dict[str, list[float]] = {name: [] for name in loaded}
    for _ in range(_ROUNDS):
        for name, model in loaded.items():
            times = []
            for sample in samples:
                start = time.perf_counter_ns()
                model.predict(sample)
                times.append((time.perf_counter_ns() - start) / 1000)
            medians[name].append(float(np.median(times)))
    for model in loaded.values():
        model.close()
    return {name: round(min(rounds), 2) for name, rounds in medians.items()}


def agreement(a: Answers, b: Answers) -> float:
    """Return the share of samples on which two models predict the same class."""
    same = a.probabilities.argmax(axis=1) == b.probabilities.argmax(axis=1)
    return float(same.mean())


def score_blocks(
    model: bytes,
    bundle_labels: Sequence[str],
    task_labels: Sequence[str],
    *,
    probabilities: str,
    blocks: Sequence[Block],
) -> dict[str, Score]:
    """Return a model's score on each block, by the block's group.

    Classes are compared by label, so an incumbent may know them in another order.
    """
    scores = {}
    for block in blocks:
        answers = ask(model, block.x, probabilities)
        said = [bundle_labels[place] for place in answers.probabilities.argmax(axis=1)]
        right = sum(a == task_labels[b] for a, b in zip(said, block.y, strict=True))
        scores[block.group] = Score(n=len(block.y), correct=right)
    return scores


def score_bundle(
    bundle: Bundle, model: bytes, task_labels: Sequence[str], blocks: Sequence[Block]
) -> dict[str, Score]:
    """Return the scores of a bundle's model on each block, by group."""
    return score_blocks(
        model,
        bundle.labels,
        task_labels,
        probabilities=bundle.outputs[0].name,
        blocks=blocks,
    )


def by_segment(
    scores: Mapping[str, Score], blocks: Sequence[Block]
) -> dict[str, Score]:
    """Add up the scores of groups into those of their segments."""
    segments: dict[str, Score] = {}
    for block in blocks:
        so_far = segments.get(block.segment, Score(n=0, correct=0))
        segments[block.segment] = so_far.plus(scores[block.group])
    return segments


def runtime() -> str:
    """Return the runtime's name and version."""
    return runtime_name()
