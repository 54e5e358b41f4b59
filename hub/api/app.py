"""The HTTP application.

Artifacts are public by design: they are named by their digest, and devices trust the
signed metadata, not this server. The digest is the whole file name, so no path can be
asked for. Called by :mod:`hub.service`.
"""

from collections.abc import Callable
from pathlib import Path as FilePath
from typing import Annotated

from fastapi import FastAPI, HTTPException, Path
from fastapi.responses import FileResponse, PlainTextResponse
from pydantic import BaseModel
from starlette.types import ASGIApp, Receive, Scope, Send

from edge_agent.wire.version import PROTOCOL_VERSION

_FOREVER = "public, max-age=31536000, immutable"

Digest = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]


class Health(BaseModel):
    """What ``/healthz`` says: the process serves; ``broker`` is its connection."""

    ok: bool = True
    broker: bool
    protocol: int = PROTOCOL_VERSION


GET = ["GET", "HEAD"]
"""The methods of what can be read."""
_LENGTH, _ENCODING = b"content-length", b"transfer-encoding"


class RefuseAmbiguous:
    """Refuses a request whose end two readers would see in different places.

    With both ``Content-Length`` and ``Transfer-Encoding`` a proxy may take for a second
    request what we take for the body of the first (RFC 9112, 6.1 and 11.2).
    """

    def __init__(self, app: ASGIApp) -> None:
        """Stand before an application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 400 and end the connection, or pass the request on."""
        app = self._app
        if scope["type"] == "http":
            names = {name for name, _ in scope["headers"]}
            if _LENGTH in names and _ENCODING in names:
                text = "Content-Length and Transfer-Encoding exclude each other"
                app = PlainTextResponse(text, 400, {"Connection": "close"})
        await app(scope, receive, send)


def make_app(artifacts: FilePath, is_connected: Callable[[], bool]) -> FastAPI:
    """Build the application over the folder of artifacts."""
    # Nobody needs a description of the interface to ask for what is named by digest.
    app = FastAPI(openapi_url=None, redirect_slashes=False)
    app.add_middleware(RefuseAmbiguous)

    @app.api_route("/healthz", methods=GET)
    def healthz() -> Health:
        """Tell that the hub serves, and whether it has its broker."""
        return Health(broker=is_connected())

    @app.api_route("/artifacts/{sha256}", methods=GET)
    def artifact(sha256: Digest) -> FileResponse:
        """Return an artifact; ``Range`` requests resume a download."""
        path = artifacts / sha256
        if not path.is_file():
            raise HTTPException(404, "there is no such artifact")
        return FileResponse(
            path,
            media_type="application/octet-stream",
            headers={"Cache-Control": _FOREVER},
        )

    return app
