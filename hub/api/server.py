"""The HTTP server of the hub: its socket, its certificate, its thread's body."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import uvicorn

from edge_agent.base.loopback import is_loopback
from hub.api.app import make_app
from hub.api.enrol import add_enrolment
from hub.api.gate import Gate, GatedListener, GateLimits
from hub.api.metadata import add_metadata
from hub.api.protocol import gated_protocol
from hub.config import ApiConfig, Home
from hub.descriptors import connections_allowed
from hub.errors import UnreachableError
from hub.identity.broker import http_certificate

if TYPE_CHECKING:
    from hub.service import Services

GRACEFUL_S = 1
KEEP_ALIVE_S = 5
PER_ADDRESS = 64
"""Connections of one address, of another machine: a whole site may be behind it."""
_BACKLOG = 128
_PROXIES = ["127.0.0.1", "::1"]
"""Whom ``X-Forwarded-For`` is believed: a proxy on this machine."""


class HttpServer:
    """Listens from the start; answers while :meth:`run` runs."""

    def __init__(
        self,
        services: "Services",
        is_connected: Callable[[], bool],
    ) -> None:
        """Take the port; answer for these services.

        Raises:
            UnreachableError: It cannot be used (``HUB-API-001``), or tokens would
                travel to it in plaintext (``HUB-API-002``).
        """
        home, api, releases = services.home, services.config.api, services.releases
        refuse_plaintext(api)
        connections = connections_allowed()
        per_address = max(1, min(PER_ADDRESS, connections // 4))
        gate = Gate(GateLimits(connections=connections, per_address=per_address))
        self._listener = GatedListener.over(_listen(api), gate)
        app = make_app(home.artifacts, is_connected)
        add_enrolment(app, services.identity, services.clock)
        add_metadata(app, releases.tuf_version, releases.tuf_bundle)
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                loop="asyncio",
                http=gated_protocol(gate),
                ws="none",
                log_config=None,
                log_level="error",  # what strangers send is not worth a line each
                access_log=False,
                lifespan="off",
                server_header=False,
                forwarded_allow_ips=_PROXIES,
                timeout_keep_alive=KEEP_ALIVE_S,
                ssl_certfile=_certificate(home, api),
                timeout_graceful_shutdown=GRACEFUL_S,
            )
        )

    def run(self) -> None:
        """Answer requests until :meth:`request_stop`."""
        self._server.run(sockets=[self._listener])

    def request_stop(self) -> None:
        """Ask :meth:`run` to end."""
        self._server.should_exit = True

    def close(self) -> None:
        """Give the port back."""
        self._listener.close()


def refuse_plaintext(api: ApiConfig) -> None:
    """Refuse to listen for other machines without TLS.

    Raises:
        UnreachableError: It would (``HUB-API-002``).
    """
    if is_loopback(api.host) or api.tls or api.allow_plaintext:
        return
    raise UnreachableError(
        "HUB-API-002",
        f"api.host {api.host!r} is not loopback, and tokens would come in plaintext",
        cure="set api.tls = true; or api.host = '127.0.0.1' behind a proxy here that"
        " ends TLS; or api.allow_plaintext = true, only on a network you trust",
    )


def _certificate(home: Home, api: ApiConfig) -> Path | None:
    if not api.tls:
        return None
    return http_certificate(home, (api.host, urlsplit(api.public_url).hostname or ""))


def _listen(api: ApiConfig) -> socket.socket:
    family = socket.AF_INET6 if ":" in api.host else socket.AF_INET
    try:
        return socket.create_server(
            (api.host, api.port), family=family, backlog=_BACKLOG
        )
    except OSError as error:
        raise UnreachableError(
            "HUB-API-001",
            f"cannot listen on {api.host}:{api.port}: {error.strerror or error}",
            cure="set another [api] port in hub.toml; is a hub running already?",
        ) from error
