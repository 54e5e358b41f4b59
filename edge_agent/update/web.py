"""Metadata over HTTP, for devices to which the broker brings no retained bundle.

The answer is the same :class:`TufBundle` and goes through the same checks; a server
can send neither more than the wire's limit nor take longer than a deadline. Called by
the phase ``FETCH_META`` and ``edge-agent update check --url``.
"""

import time
from collections.abc import Iterator

from edge_agent.base.exit_codes import ExitCode
from edge_agent.errors import UpdateError
from edge_agent.update.codes import DAMAGED_METADATA
from edge_agent.update.download import (
    INTERRUPTED,
    TIMEOUT_S,
    InterruptedDownloadError,
    Ways,
)
from edge_agent.wire.codec import decode
from edge_agent.wire.control import TufBundle
from edge_agent.wire.errors import WireError
from edge_agent.wire.manifest import FileRef

BUNDLE_PATH = "/tuf/bundle.json"
MAX_BUNDLE_BYTES = 4 << 20
DEADLINE_S = 30.0
_OK = 200


class WebError(UpdateError):
    """The server cannot be reached, or does not answer as a hub does."""

    exit_code = ExitCode.UNREACHABLE


def fetch_bundle(base_url: str, ways: Ways) -> TufBundle:
    """Fetch the hub's present metadata; none of it is verified yet.

    Raises:
        InterruptedDownloadError: It was asked to stop.
        WebError: The server cannot be reached, or has none (AGENT-UPDATE-096).
        UpdateError: What came is no bundle (AGENT-UPDATE-014).
    """
    data = _fetch(base_url.rstrip("/") + BUNDLE_PATH, MAX_BUNDLE_BYTES, ways)
    try:
        return decode(data, TufBundle, limit=MAX_BUNDLE_BYTES)
    except WireError as error:
        raise UpdateError(DAMAGED_METADATA, f"metadata: {error}") from error


def fetch_file(base_url: str, file: FileRef, ways: Ways) -> bytes:
    """Fetch a small artifact into memory; the caller verifies it.

    Raises:
        InterruptedDownloadError: It was asked to stop.
        WebError: The server cannot be reached, or has no such file.
    """
    url = f"{base_url.rstrip('/')}/artifacts/{file.sha256}"
    return _fetch(url, file.bytes, ways)


def _fetch(url: str, most: int, ways: Ways) -> bytes:
    import httpx

    try:
        with (
            httpx.Client(
                timeout=TIMEOUT_S,
                trust_env=False,
                verify=ways.context() if url.startswith("https:") else False,
            ) as client,
            client.stream(
                "GET", url, headers={"Accept-Encoding": "identity"}
            ) as response,
        ):
            if response.status_code != _OK:
                raise WebError(
                    "AGENT-UPDATE-096",
                    f"{url} answers {response.status_code}",
                    cure="is this the address of a hub, such as https://HOST:8770?",
                    retryable=True,
                )
            return _collect(response.iter_raw(), url, most, ways)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise WebError(
            "AGENT-UPDATE-096",
            f"{url} cannot be reached: {str(error) or type(error).__name__}",
            retryable=True,
        ) from error


def _collect(chunks: Iterator[bytes], url: str, most: int, ways: Ways) -> bytes:
    body, until = bytearray(), time.monotonic() + DEADLINE_S
    for chunk in chunks:
        body += chunk
        if len(body) > most or time.monotonic() > until:
            how = "sends too much" if len(body) > most else "is too slow"
            raise WebError("AGENT-UPDATE-096", f"{url} {how}", retryable=True)
        if ways.interrupted():
            raise InterruptedDownloadError(INTERRUPTED, "interrupted", retryable=True)
    return bytes(body)
