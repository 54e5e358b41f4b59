"""A model and its contract in one object: what an application can embed.

``Engine`` validates, runs the interpreter, reads the answer and, if asked, keeps the
profile of what it saw; the worker uses this very class, without the profile. It may be
called from many threads: a lock makes them take turns at the interpreter, which costs
0.1 us where nobody waits (a thread that owns it would cost 20). Several engines run
beside each other.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from edge_agent.base.digest import sha256_hex
from edge_agent.base.regular import read_regular
from edge_agent.errors import ModelError, SampleRejectedError
from edge_agent.pipeline.answer import reader_of
from edge_agent.pipeline.prediction import Prediction
from edge_agent.pipeline.rows import Rows
from edge_agent.pipeline.validate import INPUTS, Validator
from edge_agent.runtime.fit import ask, check_fit
from edge_agent.runtime.litert import load_model
from edge_agent.runtime.port import Array, TensorSpec
from edge_agent.runtime.telling import (
    ModelContract,
    contract_of_bundle,
    contract_of_model,
)
from edge_agent.runtime.trial import must_be_tried, try_out
from edge_agent.sketch.choice import choose_channels
from edge_agent.sketch.profile import WindowProfile
from edge_agent.wire.codec import MAX_DOCUMENT_BYTES, decode
from edge_agent.wire.errors import WireError
from edge_agent.wire.manifest import (
    BUNDLE_FILE,
    MAX_ARTIFACT_BYTES,
    Bundle,
    FileRef,
    InputContract,
)
from edge_agent.wire.profile import Channel, ProfileData, ReferenceProfile

__all__ = ["Engine", "Prediction", "TensorSpec"]

UNREADABLE = "AGENT-MODEL-011"
MAX_PROFILE_BYTES = 8 << 20
AnyGiven = ArrayLike | Mapping[str, ArrayLike]
NONE: dict[str, Array] = {}
"""No further inputs; never changed."""


class Engine:
    """One loaded model.

    Attributes:
        contract, contracts: What samples must look like: of the first input, of all.
        labels: Names of the classes; none where the model answers with values.
        answers: The outputs as a prediction has them, the telling one first.
        inputs, outputs: The model's tensors as the file has them.
    """

    def __init__(
        self,
        data: bytes,
        *,
        contract: ModelContract | None = None,
        labels: Sequence[str] = (),
        release: int = 0,
        channels: Sequence[Channel] | None = None,
    ) -> None:
        """Load a model.

        Args:
            data: The ``.tflite`` file, already verified.
            contract: What goes in and what comes out; by default what the model itself
                tells.
            labels: Names of the classes, where there is no contract.
            release: Number of the release, 0 for a file of no release.
            channels: What :meth:`profile` is made of; an empty list chooses some, and
                with ``None`` no profile is kept.

        Raises:
            ModelError: The model does not load, or does not fit the contract or the
                labels (``AGENT-MODEL-008``).
        """
        self._model = load_model(data)
        known = contract or contract_of_model(self._model, labels)
        check_fit(self._model, [one.tensor for one in known.inputs], known.outputs)
        self.inputs: tuple[TensorSpec, ...] = self._model.inputs
        self.outputs: tuple[TensorSpec, ...] = self._model.outputs
        self.contracts: tuple[InputContract, ...] = known.inputs
        self.contract: InputContract = known.inputs[0]
        self.labels = known.labels
        self.answers = known.outputs
        self._release = release
        self._read = reader_of(known)
        self._validators = {one.tensor.name: Validator(one) for one in known.inputs}
        self._check = Validator(self.contract).check
        self._ask = self._fast_way()
        self._lock = threading.Lock()
        self._window: WindowProfile | None = None
        if channels is not None:
            chosen = channels or choose_channels(
                known.inputs, known.outputs, known.labels
            )
            self._rows, self._window = Rows(chosen), WindowProfile(chosen)

    @classmethod
    def open(cls, path: Path | str, *, monitor: bool = True) -> Self:
        """Load a bundle folder (its digests are checked) or a single ``.tflite`` file.

        Nothing vouches for a single file: where damaged ones end the process
        (``tflite-runtime``), it is tried in another process first.

        Args:
            path: The folder or the file.
            monitor: Whether to keep a profile: on the channels of the bundle's
                reference, or on chosen ones where there is none.

        Raises:
            ModelError: It cannot be read (``AGENT-MODEL-011``) or loaded.
        """
        path = Path(path)
        try:
            if not path.is_dir():
                data = read_regular(path, MAX_ARTIFACT_BYTES, follow=True)
                if must_be_tried():
                    try_out(data)
                return cls(data, channels=() if monitor else None)
            bundle = decode(
                read_regular(path / BUNDLE_FILE, MAX_DOCUMENT_BYTES), Bundle
            )
            data = _read_checked(path, bundle.model)
            if not monitor:
                return cls.of_bundle(data, bundle)
            profile = _read_checked(path, bundle.reference)
            reference = decode(profile, ReferenceProfile, limit=MAX_PROFILE_BYTES)
        except (OSError, WireError) as error:
            raise ModelError(UNREADABLE, f"{path}: {error}") from error
        return cls.of_bundle(data, bundle, channels=reference.channels)

    @classmethod
    def of_bundle(
        cls,
        data: bytes,
        bundle: Bundle,
        *,
        release: int = 0,
        channels: Sequence[Channel] | None = None,
    ) -> Self:
        """Load a bundle's verified model bytes."""
        return cls(
            data,
            contract=contract_of_bundle(bundle),
            release=release,
            channels=channels,
        )

    def __enter__(self) -> Self:
        """Return the engine."""
        return self

    def __exit__(self, *_: object) -> None:
        """Free the model."""
        self.close()

    def predict(self, sample: AnyGiven, /, *further: ArrayLike) -> Prediction:
        """Validate and infer one sample.

        Args:
            sample: The sample of the first input, or those of all inputs by name;
                arrays are the fast way, lists will do.
            further: The samples of the other inputs, in order.

        Raises:
            SampleRejectedError: The sample fails a quality check.
            ModelError: The model failed, or answered with something that is not
                finite (``AGENT-MODEL-005``).
        """
        started = time.perf_counter()
        ask = self._ask
        if ask is None or further or type(sample) is not np.ndarray:
            return self._predict_named(sample, further, started)
        try:
            inputs = self._check(sample)
        except SampleRejectedError as error:
            self._count_rejected(error.reason)
            raise
        with self._lock:
            return self._note(ask(inputs), inputs, NONE, started)

    def run(
        self, inputs: Mapping[str, Array], *, dequantize: bool = False
    ) -> dict[str, Array]:
        """Run whole tensors with their batch axes; nothing is checked but their fit.

        See :meth:`edge_agent.runtime.port.Model.run`.

        Raises:
            ModelError: The tensors do not fit the model, or it failed.
        """
        with self._lock:
            return self._model.run(inputs, dequantize=dequantize)

    def profile(self, *, start_over: bool = False) -> ProfileData:
        """Return the profile of what was predicted, and begin a new one if asked.

        Raises:
            ModelError: The engine keeps none (``AGENT-MODEL-013``).
        """
        with self._lock:
            window = self._window
            if window is None:
                raise ModelError(
                    "AGENT-MODEL-013",
                    "this engine keeps no profile",
                    cure="name channels, or open it with monitor=True",
                )
            self._rows.drain(window)
            if start_over:
                self._window = WindowProfile(window.channels)
        return window.to_wire()

    def close(self) -> None:
        """Free the model."""
        with self._lock:
            self._model.close()

    def _fast_way(self) -> Callable[[Array], dict[str, Array]] | None:
        """Return how to ask with a validated sample, where there is one input.

        The samples of some inputs must be converted for the model first.
        """
        dtype, spec = self.contract.tensor.dtype, self.inputs[0]
        steps = spec.quantized and dtype == spec.dtype
        same = spec.quantized or dtype == spec.dtype
        if len(self.inputs) > 1 or steps or not same:
            return None
        return self._model.predict

    def _predict_named(
        self, sample: AnyGiven, further: Sequence[ArrayLike], started: float
    ) -> Prediction:
        try:
            inputs = self._check_all(sample, further)
        except SampleRejectedError as error:
            self._count_rejected(error.reason)
            raise
        first, *others = inputs
        extra = {name: inputs[name] for name in others}
        with self._lock:
            outputs = ask(self._model, inputs)
            return self._note(outputs, inputs[first], extra, started)

    def _check_all(
        self, sample: AnyGiven, further: Sequence[ArrayLike]
    ) -> dict[str, Array]:
        given: Mapping[str, ArrayLike]
        if isinstance(sample, Mapping):
            given = sample
        else:
            given = dict(zip(self._validators, (sample, *further), strict=False))
        if set(given) != set(self._validators) or len(further) >= len(self._validators):
            raise SampleRejectedError(
                INPUTS, f"inputs {[*given]}, the model takes {[*self._validators]}"
            )
        return {
            name: validator.check(validator.as_array(given[name]))
            for name, validator in self._validators.items()
        }

    def _count_rejected(self, reason: str) -> None:
        with self._lock:
            if self._window is not None:
                self._window.reject(reason)

    def _note(
        self,
        outputs: dict[str, Array],
        inputs: Array,
        extra: dict[str, Array],
        started: float,
    ) -> Prediction:
        """Read an answer and count it; the lock is held."""
        probabilities, index, confidence = self._read(outputs)
        made = Prediction(
            release=self._release,
            label=self.labels[index] if index >= 0 else "",
            index=index,
            confidence=confidence,
            probabilities=probabilities,
            outputs=outputs,
            inputs=inputs,
            latency_us=(time.perf_counter() - started) * 1e6,
            extra=extra,
        )
        if self._window is not None and self._rows.add(made):
            self._rows.drain(self._window)
        return made


def _read_checked(folder: Path, file: FileRef) -> bytes:
    data = read_regular(folder / file.name, MAX_ARTIFACT_BYTES)
    if sha256_hex(data) != file.sha256:
        raise ModelError(UNREADABLE, f"{folder}: {file.name} has a wrong digest")
    return data
