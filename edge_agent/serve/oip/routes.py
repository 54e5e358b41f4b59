"""What a request of the HTTP API means, and what it is answered with.

Methods and paths of the Open Inference Protocol v2, ``/feedback`` and ``/metrics``.
Called by the HTTP server on many threads; keeps nothing.
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import unquote

import msgspec

from edge_agent.errors import AgentError, SampleRejectedError
from edge_agent.serve.oip.http1 import Head, Response
from edge_agent.serve.oip.messages import (
    FeedbackRequest,
    IndexRequest,
    ModelState,
    ServerMetadata,
)
from edge_agent.serve.oip.port import Models, describe, find_model
from edge_agent.serve.oip.refusal import RefusedError
from edge_agent.serve.oip.request import bad_request, read_request
from edge_agent.serve.oip.response import encode_answer
from edge_agent.wire.errors import UNREADABLE

SERVER = "shoal"
EXTENSIONS = ["binary_tensor_data", "classification"]
HEADER_LENGTH = "Inference-Header-Content-Length"
BINARY_TYPE = "application/octet-stream"
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Body = bytes | bytearray
_Route = tuple[str, Callable[[], Response]]
"""The method that a path takes, and what it does."""
_T = TypeVar("_T")


class Routes:
    """Answers requests by asking the models."""

    def __init__(self, models: Models, version: str) -> None:
        """Ask ``models``; ``version`` is the agent's."""
        self._models = models
        server = ServerMetadata(name=SERVER, version=version, extensions=EXTENSIONS)
        self._fixed: dict[tuple[str, ...], tuple[str, Callable[[Body], Response]]] = {
            ("v2",): ("GET", lambda _: _json(server)),
            ("v2", "health", "live"): ("GET", lambda _: _said("live", holds=True)),
            ("v2", "health", "ready"): ("GET", self._ready),
            ("v2", "repository", "index"): ("POST", self._index),
            ("feedback",): ("POST", self._feedback),
            ("metrics",): ("GET", self._metrics),
        }

    def answer(self, head: Head, body: Body) -> Response:
        """Answer one request.

        Raises:
            RefusedError: It is refused.
        """
        if head.fields.get("content-encoding", "identity") != "identity":
            raise RefusedError(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                "AGENT-HTTP-015",
                "compressed bodies are not taken",
            )
        path = head.target.partition("?")[0]
        parts = tuple(unquote(part) for part in path.strip("/").split("/"))
        wanted, carry_out = self._find(parts, head, body)
        method = "GET" if head.method == "HEAD" else head.method
        if method != wanted:
            raise RefusedError(
                HTTPStatus.METHOD_NOT_ALLOWED,
                "AGENT-HTTP-011",
                f"{path} takes {wanted}, not {head.method}",
                headers=(("Allow", wanted),),
            )
        try:
            return carry_out()
        except AgentError as error:
            raise refusal_of(error) from error

    def _find(self, parts: tuple[str, ...], head: Head, body: Body) -> _Route:
        if (fixed := self._fixed.get(parts)) is not None:
            method, carry_out = fixed
            return method, lambda: carry_out(body)
        match parts:
            case ("v2", "models", name, "versions", version, *rest) if version:
                return self._model_route(name, version, tuple(rest), (head, body))
            case ("v2", "models", name, *rest):
                return self._model_route(name, "", tuple(rest), (head, body))
        raise _nothing_here(parts)

    def _model_route(
        self,
        name: str,
        version: str,
        rest: tuple[str, ...],
        request: tuple[Head, Body],
    ) -> _Route:
        match rest:
            case ("infer",):
                return "POST", lambda: self._infer(name, version, *request)
            case ("ready",):
                return "GET", lambda: self._model_ready(name, version)
            case ():
                return "GET", lambda: self._metadata(name, version)
        raise _nothing_here(("v2", "models", name, *rest))

    def _infer(self, name: str, version: str, head: Head, body: Body) -> Response:
        model, release = find_model(self._models, name, version)
        request = read_request(body, _header_length(head))
        answer = self._models.infer(model, release, request)
        reply, length = encode_answer(request, answer)
        if length is None:
            return Response(body=reply)
        return Response(
            body=reply,
            content_type=BINARY_TYPE,
            fields=((HEADER_LENGTH, str(length)),),
        )

    def _model_ready(self, name: str, version: str) -> Response:
        find_model(self._models, name, version)
        return _said("ready", holds=True, name=name)

    def _metadata(self, name: str, version: str) -> Response:
        model, _ = find_model(self._models, name, version)
        return _json(describe(self._models, model))

    def _ready(self, _body: Body) -> Response:
        return _said("ready", holds=self._models.ready())

    def _index(self, body: Body) -> Response:
        if body:
            _decode(body, IndexRequest)
        return _json(
            [
                ModelState(name=model.name, version=str(model.release), state="READY")
                for model in self._models.served()
            ]
        )

    def _feedback(self, body: Body) -> Response:
        told = _decode(body, FeedbackRequest)
        self._models.feedback(told.id, told.label)
        return _json({})

    def _metrics(self, _body: Body) -> Response:
        return Response(body=self._models.metrics().encode(), content_type=METRICS_TYPE)


def refusal_of(error: AgentError) -> RefusedError:
    """Return what a failure of the worker is answered with.

    A sample that fails its checks is the client's (422), anything else means that
    nothing can answer now (503): an internal error (500) is a bug and nothing else.
    """
    if isinstance(error, RefusedError):
        return error
    status = HTTPStatus.SERVICE_UNAVAILABLE
    text = error.text
    if isinstance(error, SampleRejectedError):
        status = HTTPStatus.UNPROCESSABLE_ENTITY
        text = f"{error.reason}: {error.text}"
    return RefusedError(status, error.code, text, cure=error.cure)


def _header_length(head: Head) -> int | None:
    text = head.fields.get(HEADER_LENGTH.lower())
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 15:  # noqa: PLR2004
        raise bad_request(f"{HEADER_LENGTH} is not a number")
    return int(text)


def _decode(body: Body, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=kind)
    except UNREADABLE as error:
        raise bad_request(f"not a valid request: {error}") from error


def _said(what: str, *, holds: bool, **more: str) -> Response:
    """Return a state; the protocol wants 4xx where it does not hold."""
    status = HTTPStatus.OK if holds else HTTPStatus.BAD_REQUEST
    return Response(status=status, body=msgspec.json.encode({**more, what: holds}))


def _json(document: object) -> Response:
    return Response(body=msgspec.json.encode(document))


def _nothing_here(parts: tuple[str, ...]) -> RefusedError:
    return RefusedError(
        HTTPStatus.NOT_FOUND,
        "AGENT-HTTP-010",
        f"there is nothing at {'/' + '/'.join(parts)!r}"[:512],
        cure="PROTOCOL.md lists the routes",
    )
