"""The protocol's JSON messages. Every field has a bound; unknown ones are ignored.

``data`` of a tensor stays undecoded text until shape and datatype are known; but of a
small request with flat lists of floats, which is the common one, it is read at once.
"""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from edge_agent.serve.oip.datatypes import MAX_ELEMENTS, MAX_RANK
from edge_agent.wire.types import Message, SampleId, Short, prepare

MAX_TENSORS = 64
MAX_NAME = 128
MAX_PARAMETERS = 32

Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
Dimension = Annotated[int, Meta(ge=1, le=MAX_ELEMENTS)]
Shape = Annotated[list[Dimension], Meta(max_length=MAX_RANK)]
Parameters = Annotated[
    dict[
        Short,
        bool | int | float | Annotated[str, Meta(max_length=1024)] | None,
    ],
    Meta(max_length=MAX_PARAMETERS),
]
FreeShape = list[int]
"""A model's shape: -1 stands for a dimension of any length."""


class InputHeader(Message, frozen=True, kw_only=True):
    """One tensor of a request, before its data is read."""

    name: Name
    datatype: Short
    shape: Shape
    parameters: Parameters = {}
    data: msgspec.Raw | UnsetType = UNSET


class FlatInput(InputHeader, frozen=True, kw_only=True):
    """The same where the data is a flat list of floats, read at once."""

    data: list[float] | UnsetType = UNSET  # type: ignore[assignment]


class OutputHeader(Message, frozen=True, kw_only=True):
    """One output that a request asks for."""

    name: Name
    parameters: Parameters = {}


class RequestHeader(Message, frozen=True, kw_only=True):
    """The JSON part of an inference request. ``id`` names the sample."""

    id: Annotated[str, Meta(max_length=MAX_NAME)] = ""
    parameters: Parameters = {}
    inputs: Annotated[list[InputHeader], Meta(min_length=1, max_length=MAX_TENSORS)]
    outputs: Annotated[list[OutputHeader], Meta(max_length=MAX_TENSORS)] = []


class FlatRequest(RequestHeader, frozen=True, kw_only=True):
    """A request all of whose data are flat lists of floats."""

    inputs: Annotated[  # type: ignore[assignment]
        list[FlatInput], Meta(min_length=1, max_length=MAX_TENSORS)
    ]


class Answered(Message, frozen=True, kw_only=True, omit_defaults=True):
    """One output of a reply: ``data``, or ``binary_data_size`` in ``parameters``."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, bool | int | float | str] = {}
    data: list[Any] | UnsetType = UNSET


class ResponseHeader(Message, frozen=True, kw_only=True, omit_defaults=True):
    """The JSON part of the reply to an inference request."""

    model_name: str
    model_version: str
    id: str = ""
    parameters: dict[str, bool | int | float | str]
    outputs: list[Answered]


class TensorMetadata(Message, frozen=True, kw_only=True):
    """A tensor of a model, batch axis first."""

    name: str
    datatype: str
    shape: FreeShape


class ModelMetadata(Message, frozen=True, kw_only=True):
    """What a model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ServerMetadata(Message, frozen=True, kw_only=True):
    """Who answers, and which extensions of the protocol it knows."""

    name: str
    version: str
    extensions: list[str]


class ModelState(Message, frozen=True, kw_only=True):
    """One line of the repository's index."""

    name: str
    version: str
    state: str
    reason: str = ""


class IndexRequest(Message, frozen=True, kw_only=True):
    """Which models to list; all that are listed here are ready."""

    ready: bool = False


class FeedbackRequest(Message, frozen=True, kw_only=True):
    """The true label of the sample that was inferred under ``id``."""

    id: SampleId
    label: Annotated[str, Meta(min_length=1, max_length=128)]


class Refused(Message, frozen=True, kw_only=True):
    """The body of every answer that is not 200."""

    error: str


prepare(IndexRequest, FeedbackRequest)
