"""What a model itself tells: what goes in, what comes out, and what that means.

The kind of answer is written in a bundle; without one it is told from names, widths,
and what the model says to a few samples. Called by the engine, and by whoever makes a
bundle of a file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from msgspec import UNSET

from edge_agent.errors import ModelError
from edge_agent.runtime.fit import UNFIT, ask, fits_shape
from edge_agent.runtime.port import ANY, Array, Floats, Model, TensorSpec
from edge_agent.wire.manifest import (
    MAX_LABELS,
    AnswerKind,
    Bundle,
    InputContract,
    TensorContract,
)

PROBABILITIES = "probabilities"
SUM_ATOL = 0.05
"""Probabilities in steps of 1/256 may miss a sum of 1 by a few steps."""
NO_CLASSES: Floats = np.empty(0, np.float32)
"""The probabilities of a model that tells no classes; never changed."""
TRIALS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelContract:
    """What goes into a model and what its outputs mean.

    ``outputs`` names the checked ones, the telling one first.
    """

    inputs: tuple[InputContract, ...]
    outputs: tuple[TensorContract, ...]
    kind: AnswerKind
    labels: tuple[str, ...]


def contract_of_bundle(bundle: Bundle) -> ModelContract:
    """Return the contract that a bundle writes down."""
    return ModelContract(
        inputs=bundle.inputs,
        outputs=tuple(bundle.outputs),
        kind=bundle.kind,
        labels=tuple(bundle.labels),
    )


def contract_of_model(
    model: Model,
    labels: Sequence[str],
    shapes: Mapping[str, Sequence[int]] = MappingProxyType({}),
) -> ModelContract:
    """Return the contract that a model itself tells, by asking it about a few samples.

    Args:
        model: The model.
        labels: Names of its classes where the caller knows them.
        shapes: Of one sample, for inputs whose dimensions are free.

    Raises:
        ModelError: An input has a free dimension and no shape, or no output fits the
            labels (``AGENT-MODEL-008``), or the model failed.
    """
    inputs = tuple(_own_input(spec, shapes.get(spec.name, ())) for spec in model.inputs)
    answers = [ask(model, sample) for sample in trial_samples(inputs)]
    kind, names, specs = read_answer(model.outputs, labels, answers)
    outputs = tuple(
        TensorContract(
            name=spec.name,
            dtype=str(answers[0][spec.name].dtype),
            shape=list(answers[0][spec.name].shape),
        )
        for spec in specs
    )
    return ModelContract(inputs=inputs, outputs=outputs, kind=kind, labels=names)


def trial_sample(inputs: Sequence[InputContract]) -> dict[str, Array]:
    """Return a sample that keeps the limits: zeros, or the limit nearest to zero.

    Where a flat window is a stuck sensor every second row is one step further.
    """
    sample = {}
    for contract in inputs:
        value = min(max(0.0, contract.low), contract.high)
        dtype = np.dtype(contract.tensor.dtype)
        made = np.full(contract.tensor.shape, value, dtype)
        if contract.flat_rows is not UNSET and made.ndim:
            made[1::2] = _next_to(value, contract, dtype)
        sample[contract.tensor.name] = made
    return sample


def _next_to(value: float, contract: InputContract, dtype: np.dtype[Any]) -> float:
    """Return the value that is nearest, within the limits."""
    towards = contract.high if contract.high > value else contract.low
    if dtype.kind == "f":
        return float(np.nextafter(dtype.type(value), dtype.type(towards)))
    return value + (1 if towards > value else -1)


def trial_samples(inputs: Sequence[InputContract]) -> list[dict[str, Array]]:
    """Return a few samples that keep the limits: zeros, then noise.

    Integers stay at their value nearest to zero: they may be numbers of a table's rows.
    """
    rng = np.random.default_rng(TRIALS)
    samples = [trial_sample(inputs) for _ in range(TRIALS)]
    for sample in samples[1:]:
        for contract in inputs:
            values = sample[contract.tensor.name]
            if values.dtype.kind == "f":
                noise = rng.normal(size=values.shape)
                values[...] = np.clip(noise, contract.low, contract.high)
    return samples


def probabilities_of(kind: AnswerKind, output: Array) -> Floats:
    """Return one probability a class of the telling output; empty for values."""
    flat = output.reshape(-1)
    match kind:
        case AnswerKind.PROBABILITIES:
            return flat
        case AnswerKind.LOGITS:
            with np.errstate(invalid="ignore"):
                powers = np.exp(flat - flat.max(), dtype=np.float32)
            shares: Floats = powers / powers.sum()
            return shares
        case AnswerKind.SIGMOID:
            second = np.float32(flat[0])
            return np.array([1 - second, second], np.float32)
        case AnswerKind.VALUES:
            return NO_CLASSES


def read_answer(
    outputs: Sequence[TensorSpec],
    labels: Sequence[str],
    answers: Sequence[Mapping[str, Array]],
) -> tuple[AnswerKind, tuple[str, ...], list[TensorSpec]]:
    """Tell from a model's outputs what it answers with.

    Args:
        outputs: The model's outputs.
        labels: Names of the classes where the caller knows them.
        answers: What the model said to a few samples, by output, without batch axis.

    Returns:
        The kind, the labels (numbers where the caller knows none), and the outputs,
        the telling one first.

    Raises:
        ModelError: No output fits the labels (``AGENT-MODEL-008``).
    """
    telling = _telling(outputs, len(labels))
    if telling is None:
        if labels:
            raise ModelError(
                UNFIT,
                f"no output has one number for each of {len(labels)} labels",
                cure="name that output `probabilities`",
            )
        return AnswerKind.VALUES, (), list(outputs)
    kind = _kind(telling, labels, [answer[telling.name] for answer in answers])
    others = [spec for spec in outputs if spec is not telling]
    if kind is AnswerKind.VALUES:
        return kind, (), list(outputs)
    names = tuple(labels) or tuple(str(place) for place in range(telling.shape[-1]))
    return kind, names, [telling, *others]


def _own_input(spec: TensorSpec, given: Sequence[int]) -> InputContract:
    shape = list(given) if given and fits_shape(given, spec.shape) else [*spec.shape]
    if ANY in shape:
        raise ModelError(
            UNFIT,
            f"input {spec.name!r} has a free dimension: {shape}",
            cure="name the shape of one sample (`--shape` of an import, or a contract),"
            " or export the model with a fixed one",
        )
    floats = spec.quantized or spec.dtype == "float16"
    dtype = "float32" if floats else spec.dtype
    tensor = TensorContract(name=spec.name, dtype=dtype, shape=shape)
    if np.dtype(dtype).kind in "iu":
        limits = np.iinfo(dtype)
        return InputContract(
            tensor=tensor, low=float(limits.min), high=float(limits.max)
        )
    return InputContract(tensor=tensor)


def _telling(outputs: Sequence[TensorSpec], labels: int) -> TensorSpec | None:
    """Return the output that holds the classes, if there is one."""
    flat = [spec for spec in outputs if _width(spec) and spec.dtype != "bool"]
    if labels:
        widths = {labels, 1} if labels == 2 else {labels}  # noqa: PLR2004 - yes or no
        fitting = [spec for spec in flat if _width(spec) in widths]
    else:
        fitting = [spec for spec in flat if 1 < _width(spec) <= MAX_LABELS]
    named = [spec for spec in fitting if spec.name == PROBABILITIES]
    if named:
        return named[0]
    lonely = len(fitting) == 1 and (labels or len(outputs) == 1)
    return fitting[0] if lonely else None


def _kind(
    telling: TensorSpec,
    labels: Sequence[str],
    said: Sequence[Array],
) -> AnswerKind:
    rows = np.stack([one.reshape(-1).astype(np.float64) for one in said])
    if _width(telling) == 1:
        if rows.min() < -SUM_ATOL or rows.max() > 1 + SUM_ATOL:
            raise ModelError(
                UNFIT,
                f"output {telling.name!r} is no probability of the second label",
                cure="end the model with a sigmoid, or give it one output a label",
            )
        return AnswerKind.SIGMOID
    shares = (rows >= -SUM_ATOL).all() and np.allclose(rows.sum(1), 1, atol=SUM_ATOL)
    if shares or telling.name == PROBABILITIES:
        return AnswerKind.PROBABILITIES
    return AnswerKind.LOGITS if labels else AnswerKind.VALUES


def _width(spec: TensorSpec) -> int:
    """Return how many numbers an output of one axis has (0: it is no such output)."""
    return spec.shape[0] if len(spec.shape) == 1 and spec.shape[0] > 0 else 0
