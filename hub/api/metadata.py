"""``GET /tuf/…``: the present TUF metadata, for devices and any other TUF client.

``/tuf/bundle.json`` is the whole set in one answer, exactly what the broker retains;
``/tuf/NAME`` is one file of it. Both are of one set, so a client that asks for the
bundle never meets half of a new one. Nobody needs to trust this server: the files are
signed, and clients know the root. Called by :mod:`hub.api.server`.
"""

import threading
from collections.abc import Callable
from typing import Annotated

from fastapi import FastAPI, HTTPException, Path
from fastapi.responses import Response

from edge_agent.wire import codec
from edge_agent.wire.control import TufBundle
from hub.api.app import GET

BUNDLE_PATH = "/tuf/bundle.json"
_FOREVER = "public, max-age=31536000, immutable"
_FRESH = "no-cache"
_TIMESTAMP = "timestamp.json"
_JSON = "application/json"

FileName = Annotated[str, Path(pattern=r"^([0-9]{1,16}\.)?[a-z]{1,32}\.json$")]


class _Present:
    """The bundle as it was last read, read again when the version has risen."""

    def __init__(
        self, version: Callable[[], int], bundle: Callable[[], TufBundle]
    ) -> None:
        self._version, self._bundle = version, bundle
        self._lock = threading.Lock()
        self._read: tuple[int, TufBundle] | None = None

    def get(self) -> TufBundle:
        """Return the present set."""
        with self._lock:
            version = self._version()
            if self._read is None or self._read[0] != version:
                self._read = (version, self._bundle())
            return self._read[1]


def add_metadata(
    app: FastAPI, version: Callable[[], int], bundle: Callable[[], TufBundle]
) -> None:
    """Add both paths to the application.

    Args:
        app: The application.
        version: Returns a number that rises with every change of the metadata.
        bundle: Returns all of it.
    """
    present = _Present(version, bundle)

    @app.api_route(BUNDLE_PATH, methods=GET)
    def whole() -> Response:
        """Return the present set."""
        return _answer(codec.encode(present.get()), _FRESH)

    @app.api_route("/tuf/{name}", methods=GET)
    def one(name: FileName) -> Response:
        """Return one file of the present set."""
        text = present.get().files.get(name)
        if text is None:
            raise HTTPException(404, "there is no such metadata now")
        return _answer(text.encode(), _FRESH if name == _TIMESTAMP else _FOREVER)


def _answer(body: bytes, keep: str) -> Response:
    return Response(body, media_type=_JSON, headers={"Cache-Control": keep})
