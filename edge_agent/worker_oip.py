"""The listeners that ``[api]`` of agent.toml asks for.

A port that is taken, a token that cannot be read, or gRPC that is not installed costs
that listener and nothing else: it is said once and tried again, and inference goes on
meanwhile.
"""

import logging
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from edge_agent.base.installed import agent_version
from edge_agent.base.loopback import is_loopback
from edge_agent.config import ApiConfig, split_address
from edge_agent.errors import AgentError, WorkerError
from edge_agent.serve.connections import Listening, Spawn
from edge_agent.serve.listen import listen_tcp, listen_unix
from edge_agent.serve.oip.access import Access
from edge_agent.serve.oip.http_reader import BodyBudget
from edge_agent.serve.oip.http_server import (
    BODIES_AT_ONCE,
    MAX_CONNECTIONS,
    HttpPorts,
    HttpRules,
    HttpServer,
)
from edge_agent.serve.oip.port import Models
from edge_agent.serve.oip.routes import Routes

if TYPE_CHECKING:
    from edge_agent.serve.oip_grpc.server import GrpcServer

API_SERVING = "api.serving"
API_UNAVAILABLE = "api.unavailable"
HTTP_SOCKET = "http.sock"
RETRY_S = 5.0
MAX_TOKEN_BYTES = 1024

log = logging.getLogger(__name__)


class _Server(Protocol):
    """What the servers have in common."""

    def run(self) -> None:
        """Answer until :meth:`stop`."""

    def stop(self) -> None:
        """Answer what has come, then end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiPorts:
    """What the servers need of the worker.

    ``count`` is told the status of every answer, ``after_reply`` is called when one has
    been sent.
    """

    spawn: Spawn
    count: Callable[[int], None]
    after_reply: Callable[[], None]


class OipApi:
    """None to three servers over the same models."""

    def __init__(
        self,
        config: ApiConfig,
        folders: tuple[Path, Path],
        models: Models,
        ports: ApiPorts,
    ) -> None:
        """Prepare; nothing is bound yet.

        Args:
            config: What to serve.
            folders: Of the configuration file, and of the state.
            models: Whom to ask.
            ports: What the servers need of the worker.
        """
        self._config = config
        self._folder, self._state_dir = folders
        self._budget = BodyBudget(
            config.max_body_bytes, BODIES_AT_ONCE * config.max_body_bytes
        )
        self._models, self._version = models, agent_version()
        self._ports = HttpPorts(
            answer=Routes(models, self._version).answer,
            spawn=ports.spawn,
            count=ports.count,
            after_reply=ports.after_reply,
        )
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._servers: list[_Server] = []
        self._addresses: list[str] = []

    def start(self) -> None:
        """Serve in threads of their own from now on."""
        if self._config.unix:
            self._ports.spawn("http-unix", lambda: self._keep_serving(self._open_unix))
        if self._config.http:
            self._ports.spawn("http", lambda: self._keep_serving(self._open_http))
        if self._config.grpc:
            self._ports.spawn("grpc", lambda: self._keep_serving(self._open_grpc))

    def addresses(self) -> list[str]:
        """Return where the servers listen that could be opened."""
        with self._lock:
            return list(self._addresses)

    def stop(self) -> None:
        """Answer what has come, then end."""
        self._stopping.set()
        with self._lock:
            servers = list(self._servers)
        for server in servers:
            server.stop()

    def _keep_serving(self, open_: Callable[[], _Server]) -> None:
        complained = False
        while not self._stopping.is_set():
            try:
                server = open_()
            except AgentError as error:
                if not complained:
                    log.warning(API_UNAVAILABLE, extra={"why": str(error)})
                complained = True
                self._stopping.wait(RETRY_S)
                continue
            with self._lock:
                self._servers.append(server)
            if self._stopping.is_set():
                server.stop()
            server.run()

    def _open_unix(self) -> HttpServer:
        path = self._state_dir / HTTP_SOCKET
        where = Listening(
            listener=listen_unix(path),
            name="http-unix",
            limit=MAX_CONNECTIONS,
            path=path,
        )
        self._note(f"http+unix://{path}")
        return HttpServer(where, self._rules(Access()), self._ports)

    def _open_http(self) -> HttpServer:
        host, port = split_address(self._config.http)
        token = self._token()
        access = Access(token=token, loopback_names=is_loopback(host) and not token)
        where = Listening(
            listener=listen_tcp(host, port), name="http", limit=MAX_CONNECTIONS
        )
        self._note(f"http://{self._config.http}")
        return HttpServer(where, self._rules(access), self._ports)

    def _open_grpc(self) -> "GrpcServer":
        try:
            from edge_agent.serve.oip_grpc.server import GrpcServer, Service
        except ModuleNotFoundError as error:
            raise WorkerError(
                "AGENT-GRPC-002",
                f"api.grpc needs a package that is not installed: {error.name}",
                cure="install shoal[grpc]",
            ) from error
        server = GrpcServer(
            self._config.grpc,
            Service(self._models, self._version),
            Access(token=self._token()),
            self._config.max_body_bytes,
        )
        self._note(f"grpc://{self._config.grpc}")
        return server

    def _note(self, address: str) -> None:
        log.info(API_SERVING, extra={"address": address})
        with self._lock:
            self._addresses.append(address)

    def _rules(self, access: Access) -> HttpRules:
        return HttpRules(access=access, budget=self._budget)

    def _token(self) -> bytes:
        return (
            read_token(self._folder / self._config.token_file)
            if self._config.token_file
            else b""
        )


def read_token(path: Path) -> bytes:
    """Return what a request must carry: the file's only line.

    Raises:
        WorkerError: It cannot be read, holds none, or is anybody's to read.
    """
    try:
        with path.open("rb") as file:
            mode = path.stat().st_mode
            token = file.read(MAX_TOKEN_BYTES + 1).strip()
    except OSError as error:
        raise _no_token(f"{path}: {error.strerror}") from error
    if mode & stat.S_IRWXO:
        raise _no_token(f"{path} may be opened by anybody", cure=f"chmod 600 {path}")
    if not token or len(token) > MAX_TOKEN_BYTES or not token.isascii():
        raise _no_token(f"{path} holds no token of 1 to {MAX_TOKEN_BYTES} characters")
    return token


def _no_token(text: str, *, cure: str = "") -> WorkerError:
    return WorkerError("AGENT-HTTP-016", text, cure=cure)
