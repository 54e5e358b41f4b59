"""The Open Inference Protocol over gRPC: its methods, and a server of few threads.

gRPC brings its own threads; how many requests run at once is bounded here, and whom it
lets in is decided as for HTTP: loopback, or a token. A failure is told as a gRPC status
with code and text of ours; whatever comes, a bug is the only ``INTERNAL``.
"""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from edge_agent.errors import AgentError, WorkerError
from edge_agent.serve.listen import CANNOT_LISTEN
from edge_agent.serve.oip.access import Access
from edge_agent.serve.oip.http_server import said
from edge_agent.serve.oip.port import Models, describe, find_model
from edge_agent.serve.oip.refusal import RefusedError
from edge_agent.serve.oip.request import bad_request
from edge_agent.serve.oip.routes import EXTENSIONS, SERVER, refusal_of
from edge_agent.serve.oip_grpc.convert import (
    answer_message,
    metadata_message,
    read_message,
)
from edge_agent.serve.oip_grpc.messages import MESSAGES, SERVICE

GRPC_FAILED = "grpc.request.failed"
THREADS = 8
MAX_REQUESTS = 32
DRAIN_S = 2.0
_OVERHEAD_BYTES = 64 << 10
"""Beside the tensors of a message that is as large as can be."""

_CODES = {
    HTTPStatus.BAD_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
    HTTPStatus.UNPROCESSABLE_ENTITY: grpc.StatusCode.INVALID_ARGUMENT,
    HTTPStatus.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    HTTPStatus.UNAUTHORIZED: grpc.StatusCode.UNAUTHENTICATED,
    HTTPStatus.SERVICE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
}

_Message = Any
_Method = tuple[str, Callable[[_Message], _Message]]
"""The message that a method takes, and what it does."""

log = logging.getLogger(__name__)


class Service:
    """The methods of ``GRPCInferenceService`` that a device can answer."""

    def __init__(self, models: Models, version: str) -> None:
        """Ask ``models``; ``version`` is the agent's."""
        self._models = models
        self._version = version

    def methods(self) -> dict[str, _Method]:
        """Return the methods by name."""
        return {
            "ServerLive": ("Empty", self._live),
            "ServerReady": ("Empty", self._ready),
            "ServerMetadata": ("Empty", self._server_metadata),
            "ModelReady": ("ModelReadyRequest", self._model_ready),
            "ModelMetadata": ("ModelMetadataRequest", self._model_metadata),
            "ModelInfer": ("ModelInferRequest", self._infer),
            "RepositoryIndex": ("Empty", self._index),
        }

    def _live(self, _: _Message) -> _Message:
        return MESSAGES["ServerLiveResponse"](live=True)

    def _ready(self, _: _Message) -> _Message:
        return MESSAGES["ServerReadyResponse"](ready=self._models.ready())

    def _server_metadata(self, _: _Message) -> _Message:
        return MESSAGES["ServerMetadataResponse"](
            name=SERVER, version=self._version, extensions=EXTENSIONS
        )

    def _model_ready(self, message: _Message) -> _Message:
        try:
            find_model(self._models, message.name, message.version)
        except RefusedError:
            return MESSAGES["ModelReadyResponse"](ready=False)
        return MESSAGES["ModelReadyResponse"](ready=True)

    def _model_metadata(self, message: _Message) -> _Message:
        model, _ = find_model(self._models, message.name, message.version)
        return metadata_message(describe(self._models, model))

    def _infer(self, message: _Message) -> _Message:
        model, release = find_model(
            self._models, message.model_name, message.model_version
        )
        request = read_message(message)
        return answer_message(request, self._models.infer(model, release, request))

    def _index(self, _: _Message) -> _Message:
        kind = MESSAGES["ModelIndex"]
        return MESSAGES["RepositoryIndexResponse"](
            models=[
                kind(name=model.name, version=str(model.release), state="READY")
                for model in self._models.served()
            ]
        )


class GrpcServer:
    """One listener; bound from construction on."""

    def __init__(
        self, address: str, service: Service, access: Access, body_bytes: int
    ) -> None:
        """Bind ``address``, such as ``127.0.0.1:8081``.

        Raises:
            WorkerError: It cannot be had (``AGENT-WORKER-003``).
        """
        self._access = access
        size = body_bytes + _OVERHEAD_BYTES
        self._server = grpc.server(
            ThreadPoolExecutor(THREADS, thread_name_prefix="grpc"),
            handlers=[
                grpc.method_handlers_generic_handler(
                    SERVICE,
                    {
                        name: self._handler(*method)
                        for name, method in service.methods().items()
                    },
                )
            ],
            options=[
                ("grpc.max_receive_message_length", size),
                ("grpc.max_send_message_length", size),
                # Two servers on one port would each get half of the requests.
                ("grpc.so_reuseport", 0),
            ],
            maximum_concurrent_rpcs=MAX_REQUESTS,
        )
        try:
            self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise WorkerError(
                CANNOT_LISTEN,
                f"cannot listen on {address}",
                cure="another program has the port: choose one in [api] of agent.toml",
            ) from error

    def run(self) -> None:
        """Answer until :meth:`stop`."""
        self._server.start()
        self._server.wait_for_termination()

    def stop(self) -> None:
        """Take no more; wait for requests that have come, then end."""
        self._server.stop(DRAIN_S).wait(DRAIN_S)

    def _handler(self, kind: str, method: Callable[[_Message], _Message]) -> object:
        def handle(data: bytes, context: grpc.ServicerContext) -> bytes:
            try:
                self._check_token(context)
                answer: bytes = method(_parse(data, kind)).SerializeToString()
            except AgentError as error:
                refusal = refusal_of(error)
                return _end(context, _CODES[refusal.status], said(refusal))
            except Exception:
                log.exception(GRPC_FAILED)
                return _end(
                    context,
                    grpc.StatusCode.INTERNAL,
                    "AGENT-GRPC-001: the worker failed; its log tells why",
                )
            return answer

        # Neither side is gRPC's to decode: what is no message is refused by us.
        return grpc.unary_unary_rpc_method_handler(handle)

    def _check_token(self, context: grpc.ServicerContext) -> None:
        given = dict(context.invocation_metadata()).get("authorization", "")
        self._access.check_token(given if isinstance(given, str) else "")


def _parse(data: bytes, kind: str) -> _Message:
    try:
        return MESSAGES[kind].FromString(data)
    except DecodeError as error:
        raise bad_request("not a valid message") from error


def _end(context: grpc.ServicerContext, code: grpc.StatusCode, text: str) -> bytes:
    context.set_code(code)
    context.set_details(text)
    return b""
