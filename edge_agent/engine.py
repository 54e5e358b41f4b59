"""A model and its contract in one object: what an application can embed.

``Engine`` validates, runs the interpreter and reads the answer; the worker uses this
very class. It keeps no telemetry. Not thread-safe: one owner.
"""

import hashlib
import time
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from edge_agent.errors import ModelError, SampleRejectedError
from edge_agent.pipeline.prediction import Prediction, Sample
from edge_agent.pipeline.validate import validate
from edge_agent.runtime.litert import load_model
from edge_agent.runtime.port import Model
from edge_agent.wire.codec import decode
from edge_agent.wire.errors import WireError
from edge_agent.wire.manifest import BUNDLE_FILE, Bundle, InputContract, TensorContract

__all__ = ["Engine", "FileAnswer", "Prediction", "infer_file"]

_UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    TypeError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What NumPy raises of a file that is no npz archive (or holds one bare array)."""


class Engine:
    """One loaded model."""

    def __init__(
        self,
        data: bytes,
        *,
        contract: InputContract | None = None,
        labels: Sequence[str] = (),
        outputs: Sequence[str] = (),
        release: int = 0,
    ) -> None:
        """Load a model.

        Args:
            data: The ``.tflite`` file, already verified.
            contract: What a sample must look like; by default the model's own input
                shape and nothing else.
            labels: Names of the classes; by default ``0``, ``1``, …
            outputs: Output names, probabilities first; by default the output called
                ``probabilities``, or else the model's only output.
            release: Number of the release, 0 for a file of no release.

        Raises:
            ModelError: The model does not load, or does not fit the contract
                (``AGENT-MODEL-008``).
        """
        self._model = load_model(data)
        self._release = release
        self.contract = contract or _own_contract(self._model)
        self._probabilities = _probabilities(self._model, outputs)
        (classes,) = next(
            spec.shape
            for spec in self._model.outputs
            if spec.name == self._probabilities
        )
        self.labels = tuple(labels) or tuple(str(i) for i in range(classes))
        _check_fit(self._model, self.contract, self.labels, classes)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Load a bundle folder (its digest is checked) or a single ``.tflite`` file.

        Raises:
            ModelError: It cannot be read (``AGENT-MODEL-011``) or loaded.
        """
        try:
            if not path.is_dir():
                return cls(path.read_bytes())
            bundle = decode((path / BUNDLE_FILE).read_bytes(), Bundle)
            data = (path / bundle.model.name).read_bytes()
        except (OSError, WireError) as error:
            raise ModelError("AGENT-MODEL-011", f"{path}: {error}") from error
        if hashlib.sha256(data).hexdigest() != bundle.model.sha256:
            raise ModelError(
                "AGENT-MODEL-011", f"{path}: {bundle.model.name} has a wrong digest"
            )
        return cls.of_bundle(data, bundle)

    @classmethod
    def of_bundle(cls, data: bytes, bundle: Bundle, *, release: int = 0) -> Self:
        """Load a bundle's verified model bytes."""
        return cls(
            data,
            contract=bundle.input,
            labels=bundle.labels,
            outputs=[tensor.name for tensor in bundle.outputs],
            release=release,
        )

    def predict(self, sample: Sample) -> Prediction:
        """Validate and infer one sample.

        Raises:
            SampleRejectedError: The sample fails a quality check.
            ModelError: The model failed, or answered with something that is not
                finite (``AGENT-MODEL-005``).
        """
        started = time.perf_counter()
        inputs = validate(sample, self.contract)
        outputs = self._model.predict(inputs)
        probabilities = outputs[self._probabilities]
        index = int(probabilities.argmax())
        confidence = float(probabilities[index])
        latency_us = (time.perf_counter() - started) * 1e6
        if not np.isfinite(probabilities).all():
            raise ModelError("AGENT-MODEL-005", "model answered NaN or infinity")
        return Prediction(
            release=self._release,
            label=self.labels[index],
            index=index,
            confidence=confidence,
            probabilities=probabilities,
            outputs=outputs,
            inputs=inputs,
            latency_us=latency_us,
        )

    def close(self) -> None:
        """Free the model."""
        self._model.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileAnswer:
    """What :func:`infer_file` says of one sample; ``rejected`` is the reason, or ""."""

    sample_id: str
    label: str = ""
    confidence: float = 0.0
    probabilities: tuple[float, ...] = ()
    latency_us: float = 0.0
    rejected: str = ""


def infer_file(model_path: Path, input_npz: Path) -> list[FileAnswer]:
    """Infer the samples of an npz file with a bundle folder or a ``.tflite`` file.

    Each array of the file is one sample of the input's shape, or a batch of them, or
    a recording longer than the input's first axis, which is cut into windows without
    overlap (``hop`` rows apart where the contract names a hop).

    Raises:
        ModelError: The model or the input file cannot be read.
    """
    engine = Engine.open(model_path)
    try:
        # Opened here: of a broken archive, NumPy would leave its own handle open.
        with input_npz.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            recordings = {name: arrays[name] for name in arrays.files}
    except _UNREADABLE as error:
        raise ModelError("AGENT-MODEL-010", f"{input_npz}: {error}") from error
    answers = []
    for name, array in recordings.items():
        for offset, sample in _samples(array, engine.contract):
            answers.append(_answer(engine, f"{name}@{offset}", sample))
    return answers


def _answer(engine: Engine, sample_id: str, sample: Sample) -> FileAnswer:
    try:
        made = engine.predict(sample)
    except SampleRejectedError as error:
        return FileAnswer(sample_id=sample_id, rejected=error.reason)
    return FileAnswer(
        sample_id=sample_id,
        label=made.label,
        confidence=made.confidence,
        probabilities=tuple(float(p) for p in made.probabilities),
        latency_us=made.latency_us,
    )


def _samples(array: Sample, contract: InputContract) -> list[tuple[int, Sample]]:
    rank, length = len(contract.tensor.shape), contract.tensor.shape[0]
    if array.ndim == rank + 1:
        return list(enumerate(array))
    if array.ndim != rank or len(array) < length:
        return [(0, array)]
    hop = contract.hop or length
    starts = range(0, len(array) - length + 1, hop)
    return [(start, array[start : start + length]) for start in starts]


def _own_contract(model: Model) -> InputContract:
    spec = model.inputs[0]
    return InputContract(
        tensor=TensorContract(name=spec.name, shape=list(spec.shape)),
    )


def _probabilities(model: Model, outputs: Sequence[str]) -> str:
    shapes = {spec.name: spec.shape for spec in model.outputs}
    missing = [name for name in outputs if name not in shapes]
    if missing:
        raise ModelError("AGENT-MODEL-008", f"model has no output {missing[0]!r}")
    if outputs:
        name = outputs[0]
    elif "probabilities" in shapes or len(shapes) > 1:
        name = "probabilities"
    else:
        name = next(iter(shapes))
    if len(shapes.get(name, ())) != 1:
        raise ModelError(
            "AGENT-MODEL-008",
            "which output holds the class probabilities is not known",
            cure="name that output `probabilities`, with shape (1, classes)",
        )
    return name


def _check_fit(
    model: Model, contract: InputContract, labels: tuple[str, ...], classes: int
) -> None:
    shape = model.inputs[0].shape
    if tuple(contract.tensor.shape) != shape:
        raise ModelError(
            "AGENT-MODEL-008",
            f"contract wants samples of {contract.tensor.shape}, model {list(shape)}",
        )
    if len(labels) != classes:
        raise ModelError(
            "AGENT-MODEL-008", f"{len(labels)} labels for {classes} probabilities"
        )
