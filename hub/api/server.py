"""The HTTP server of the hub: its socket, its certificate, its thread's body."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import uvicorn

from hub.api.app import make_app
from hub.api.enrol import add_enrolment
from hub.api.metadata import add_metadata
from hub.config import ApiConfig, Home
from hub.errors import UnreachableError
from hub.identity.broker import http_certificate

if TYPE_CHECKING:
    from hub.service import Services

GRACEFUL_S = 1
_BACKLOG = 128


class HttpServer:
    """Listens from the start; answers while :meth:`run` runs."""

    def __init__(
        self,
        services: "Services",
        is_connected: Callable[[], bool],
    ) -> None:
        """Take the port; answer for these services.

        Raises:
            UnreachableError: It cannot be used (``HUB-API-001``).
        """
        home, api, releases = services.home, services.config.api, services.releases
        self._listener = _listen(api)
        app = make_app(home.artifacts, is_connected)
        add_enrolment(app, services.identity, services.clock)
        add_metadata(app, releases.tuf_version, releases.tuf_bundle)
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_config=None,
                log_level="warning",
                access_log=False,
                lifespan="off",
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


def _certificate(home: Home, api: ApiConfig) -> Path | None:
    if not api.tls:
        return None
    return http_certificate(home, (api.host, urlsplit(api.public_url).hostname or ""))


def _listen(api: ApiConfig) -> socket.socket:
    try:
        return socket.create_server((api.host, api.port), backlog=_BACKLOG)
    except OSError as error:
        raise UnreachableError(
            "HUB-API-001",
            f"cannot listen on {api.host}:{api.port}: {error.strerror or error}",
            cure="set another [api] port in hub.toml; is a hub running already?",
        ) from error
