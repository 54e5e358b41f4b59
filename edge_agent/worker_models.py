"""The worker's models behind the Open Inference Protocol.

It decides what names, versions and tensors stand for: a release's number is its
version, and every row of a request is one sample on the sample path, so that it is
validated, profiled and joined with its label like any other. One reply is one release:
where the ladder or a swap would answer rows differently, the request is refused.
"""

import os
import time
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import AgentError, SampleRejectedError
from edge_agent.pipeline.infer import Ladder, Loaded
from edge_agent.pipeline.path import UNKNOWN_LABEL, UNKNOWN_SAMPLE, SamplePath
from edge_agent.pipeline.prediction import Given, Prediction, ServedBy
from edge_agent.pipeline.recent import Entry
from edge_agent.serve.oip.datatypes import datatype_of
from edge_agent.serve.oip.messages import TensorMetadata
from edge_agent.serve.oip.port import ServedModel
from edge_agent.serve.oip.refusal import RefusedError
from edge_agent.serve.oip.request import InferRequest
from edge_agent.serve.oip.response import Answer
from edge_agent.wire.manifest import TensorContract
from edge_agent.worker_metrics import WorkerMetrics

MAX_ROWS = 256
ROWS_S = 10.0
"""A request of several rows is given up after that."""
MAX_ID = 120
"""Of a request of several rows: ``#`` and the row's number are appended."""

_STATUS = {
    UNKNOWN_SAMPLE: HTTPStatus.NOT_FOUND,
    UNKNOWN_LABEL: HTTPStatus.UNPROCESSABLE_ENTITY,
}
_Made = tuple[Entry, Prediction]


class WorkerModels:
    """Answers for the sample path; see :class:`~edge_agent.serve.oip.port.Models`."""

    def __init__(self, path: SamplePath, metrics: WorkerMetrics) -> None:
        """Answer what the path's ladder holds."""
        self._path = path
        self._metrics = metrics
        self._seen: tuple[Ladder, tuple[ServedModel, ...]] = (Ladder(), ())

    def served(self) -> Sequence[ServedModel]:
        """Return the active release and the one before."""
        ladder, (seen, models) = self._path.ladder, self._seen
        if ladder is not seen:
            loaded = (
                one for one in (ladder.active, ladder.previous) if one is not None
            )
            models = tuple(_describe(one) for one in loaded)
            self._seen = (ladder, models)
        return models

    def ready(self) -> bool:
        """Tell whether the ladder has a step."""
        ladder = self._path.ladder
        return bool(ladder.active or ladder.previous or ladder.fallback)

    def infer(self, model: ServedModel, release: int, request: InferRequest) -> Answer:
        """Answer a request row by row."""
        rows = _rows(model, request)
        sample_id = request.id or os.urandom(8).hex()
        if len(rows) == 1:
            made = [self._path.answer(sample_id, rows[0], release=release)]
        else:
            made = self._answer_rows(sample_id, rows, release)
        entry = made[0][0]
        parameters: dict[str, bool | int | float | str] = {
            "served_by": entry.served_by.value,
            "release": entry.release,
            "sample_id": sample_id,
        }
        if len(rows) == 1 and entry.label:
            parameters |= {"label": entry.label, "confidence": entry.confidence}
        return Answer(
            model=model.name,
            version=str(entry.release),
            outputs=self._outputs(model, made),
            labels=entry.labels,
            parameters=parameters,
        )

    def _outputs(
        self, asked: ServedModel, made: list[_Made]
    ) -> dict[str, NDArray[Any]]:
        """Return what the release that answered announces, with a batch axis."""
        release, outputs = made[0][0].release, made[0][1].outputs
        names: Iterable[str] = outputs
        for model in (asked, *self.served()):
            if model.release == release:
                names = [one.name for one in model.outputs if one.name in outputs]
                break
        if len(made) == 1:
            # A view: stacking one array takes ten times as long.
            return {name: outputs[name][np.newaxis] for name in names}
        return {
            name: np.stack([prediction.outputs[name] for _, prediction in made])
            for name in names
        }

    def feedback(self, sample_id: str, label: str) -> None:
        """Join a true label with its prediction."""
        try:
            self._path.feedback(sample_id, label)
        except AgentError as error:
            status = _STATUS.get(error.code)
            if status is None:
                raise
            raise RefusedError(
                status, error.code, error.text, cure=error.cure
            ) from error

    def metrics(self) -> str:
        """Return the worker's figures."""
        return self._metrics.text()

    def _answer_rows(
        self, sample_id: str, rows: list[Given], release: int
    ) -> list[_Made]:
        if len(sample_id) > MAX_ID:
            raise _unfit(
                f"an id of a request of several rows has at most {MAX_ID} signs"
            )
        give_up_at = time.monotonic() + ROWS_S
        made: list[_Made] = []
        for place, row in enumerate(rows):
            if time.monotonic() > give_up_at:
                raise _broken(f"it took longer than {ROWS_S:g} s")
            try:
                one = self._path.answer(f"{sample_id}#{place}", row, release=release)
            except SampleRejectedError as error:
                raise SampleRejectedError(
                    error.reason, f"row {place}: {error.text}"
                ) from error
            if one[0].served_by is ServedBy.RULE:
                raise _broken("no model can answer")
            made.append(one)
            # From here on no other release may answer.
            release = one[0].release
        return made


def _describe(loaded: Loaded) -> ServedModel:
    return ServedModel(
        name=loaded.name,
        release=loaded.release,
        inputs=tuple(_metadata(contract.tensor) for contract in loaded.inputs),
        outputs=tuple(_metadata(tensor) for tensor in loaded.outputs),
    )


def _metadata(tensor: TensorContract) -> TensorMetadata:
    return TensorMetadata(
        name=tensor.name,
        datatype=datatype_of(tensor.dtype),
        shape=[-1, *tensor.shape],
    )


def _rows(model: ServedModel, request: InferRequest) -> list[Given]:
    """Return the request's samples, which its tensors hold along their first axes.

    Their shapes and dtypes are the sample path's to judge, and to count.
    """
    known = {tensor.name for tensor in model.inputs}
    sent = [tensor.name for tensor in request.inputs]
    if known != set(sent):
        takes = ", ".join(tensor.name for tensor in model.inputs)
        raise _unfit(f"inputs {', '.join(sent)}; model {model.name!r} takes {takes}")
    counts = {tensor.shape[:1] for tensor in request.inputs}
    if len(counts) > 1 or counts == {()} or max(counts)[0] > MAX_ROWS:
        shapes = ", ".join(f"{one.name} {list(one.shape)}" for one in request.inputs)
        raise _unfit(
            f"shapes {shapes}: the first axes count samples, 1 to {MAX_ROWS}, of each"
            " input as many"
        )
    arrays = {tensor.name: tensor.array() for tensor in request.inputs}
    rows = range(max(counts)[0])
    # With an ellipsis a row of numbers stays an array, without any axis.
    if len(arrays) == 1:
        (array,) = arrays.values()
        return [array[row, ...] for row in rows]
    return [{name: one[row, ...] for name, one in arrays.items()} for row in rows]


def _unfit(text: str) -> RefusedError:
    return RefusedError(HTTPStatus.BAD_REQUEST, "AGENT-OIP-005", text[:1024])


def _broken(why: str) -> RefusedError:
    return RefusedError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "AGENT-OIP-008",
        f"the rows cannot all be answered: {why}",
        cure="send fewer rows, or try again",
    )
