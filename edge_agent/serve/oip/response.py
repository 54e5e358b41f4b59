"""The reply to an inference request, from arrays to bytes. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_agent.serve.oip.datatypes import (
    DTYPES,
    TEXT,
    datatype_of,
    to_binary,
    to_json,
)
from edge_agent.serve.oip.messages import Answered, ResponseHeader
from edge_agent.serve.oip.refusal import RefusedError
from edge_agent.serve.oip.request import BINARY_SIZE, InferRequest, WantedOutput


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What was inferred. Outputs have a batch axis; ``labels`` name the classes.

    ``parameters`` are told as they are: ``served_by``, ``release`` and the like.
    """

    model: str
    version: str
    outputs: Mapping[str, NDArray[Any]]
    labels: Sequence[str] = ()
    parameters: Mapping[str, bool | int | float | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PickedOutput:
    """An output as it is sent."""

    name: str
    datatype: str
    array: NDArray[Any]
    binary: bool


def pick_outputs(request: InferRequest, answer: Answer) -> list[PickedOutput]:
    """Return the outputs that a request asks for, in its order.

    A rule's answer has none, whatever is asked for: its parameters tell the label.

    Raises:
        RefusedError: ``AGENT-OIP-006``: there is no such output.
    """
    if not answer.outputs:
        return []
    wanted = request.outputs or [
        WantedOutput(name=name, binary=request.binary_output) for name in answer.outputs
    ]
    picked = []
    for one in wanted:
        array = answer.outputs.get(one.name)
        datatype = TEXT if array is None else datatype_of(array.dtype)
        if array is None or datatype not in DTYPES:
            raise RefusedError(
                HTTPStatus.BAD_REQUEST,
                "AGENT-OIP-006",
                f"model {answer.model!r} has no output {one.name!r} that can be sent",
                cure=f"it has {', '.join(answer.outputs)}"[:512],
            )
        if one.classes:
            array, datatype = _best(array, one.classes, answer.labels), TEXT
        picked.append(
            PickedOutput(
                name=one.name, datatype=datatype, array=array, binary=one.binary
            )
        )
    return picked


def encode_answer(request: InferRequest, answer: Answer) -> tuple[bytes, int | None]:
    """Return the body of a reply, and the bytes of JSON at its start.

    ``None``: all of it is JSON.

    Raises:
        RefusedError: An output is not there, or JSON cannot hold it.
    """
    headers, tail = [], []
    for one in pick_outputs(request, answer):
        if one.binary:
            data = to_binary(one.array)
            tail.append(data)
            extra: dict[str, Any] = {"parameters": {BINARY_SIZE: len(data)}}
        else:
            extra = {"data": to_json(one.array, one.name)}
        headers.append(
            Answered(
                name=one.name,
                datatype=one.datatype,
                shape=list(one.array.shape),
                **extra,
            )
        )
    header = msgspec.json.encode(
        ResponseHeader(
            model_name=answer.model,
            model_version=answer.version,
            id=request.id,
            parameters=dict(answer.parameters),
            outputs=headers,
        )
    )
    return b"".join((header, *tail)), len(header) if tail else None


def _best(array: NDArray[Any], classes: int, labels: Sequence[str]) -> NDArray[Any]:
    """Return ``value:index:label`` of the highest elements of each row."""
    rows = array.reshape(array.shape[0], -1) if array.ndim else array.reshape(1, 1)
    order = np.argsort(-rows.astype(np.float64), axis=1, kind="stable")[:, :classes]
    texts = [
        [_entry(row[index], int(index), labels) for index in best]
        for row, best in zip(rows, order, strict=True)
    ]
    return np.array(texts, dtype=object)


def _entry(value: Any, index: int, labels: Sequence[str]) -> str:  # noqa: ANN401
    text = f"{float(value):f}:{index}"
    return f"{text}:{labels[index]}" if index < len(labels) else text
