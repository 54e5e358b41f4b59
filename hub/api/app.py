"""The HTTP application.

Artifacts are public by design: they are named by their digest, and devices trust the
signed metadata, not this server. The digest is the whole file name, so no path can be
asked for. Called by :mod:`hub.service`.
"""

from collections.abc import Callable
from pathlib import Path as FilePath
from typing import Annotated

from fastapi import FastAPI, HTTPException, Path
from fastapi.responses import FileResponse
from pydantic import BaseModel

from edge_agent.wire.version import PROTOCOL_VERSION

_FOREVER = "public, max-age=31536000, immutable"

Digest = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]


class Health(BaseModel):
    """What ``/healthz`` says: the process serves; ``broker`` is its connection."""

    ok: bool = True
    broker: bool
    protocol: int = PROTOCOL_VERSION


def make_app(artifacts: FilePath, is_connected: Callable[[], bool]) -> FastAPI:
    """Build the application over the folder of artifacts."""
    app = FastAPI(title="Shoal hub", docs_url=None, redoc_url=None)

    @app.get("/healthz")
    def healthz() -> Health:
        """Tell that the hub serves, and whether it has its broker."""
        return Health(broker=is_connected())

    @app.api_route("/artifacts/{sha256}", methods=["GET", "HEAD"])
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
