"""Artifacts over HTTP: by digest only, in parts, and nothing beside them."""

import asyncio
import hashlib
from pathlib import Path

import httpx
import pytest

from hub.api.app import make_app

CONTENT = bytes(range(256)) * 10
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    """Return a folder with one artifact and a file that is none."""
    (tmp_path / DIGEST).write_bytes(CONTENT)
    (tmp_path / "secret").write_text("secret", "utf-8")
    return tmp_path


def ask(artifacts: Path, method: str, path: str, **headers: str) -> httpx.Response:
    """Ask the application in this process."""

    async def go() -> httpx.Response:
        transport = httpx.ASGITransport(make_app(artifacts, lambda: True))
        async with httpx.AsyncClient(transport=transport, base_url="http://hub") as web:
            return await web.request(method, path, headers=headers)

    return asyncio.run(go())


def test_an_artifact_is_served_whole_and_in_parts(artifacts: Path) -> None:
    """GET, HEAD and Range answer as a resuming download needs it."""
    whole = ask(artifacts, "GET", f"/artifacts/{DIGEST}")
    head = ask(artifacts, "HEAD", f"/artifacts/{DIGEST}")
    part = ask(artifacts, "GET", f"/artifacts/{DIGEST}", Range="bytes=2500-")

    assert whole.content == CONTENT
    assert head.headers["content-length"] == str(len(CONTENT))
    assert head.content == b""
    assert (part.status_code, part.content) == (206, CONTENT[2500:])


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"/artifacts/{'0' * 64}", 404),
        ("/artifacts/secret", 422),
        ("/artifacts/..%2fsecret", 404),
        (f"/artifacts/{DIGEST.upper()}", 422),
        ("/docs", 404),
    ],
)
def test_nothing_else_is_served(artifacts: Path, path: str, status: int) -> None:
    """Only a digest of this folder is a path."""
    assert ask(artifacts, "GET", path).status_code == status


def test_health_tells_of_the_broker(artifacts: Path) -> None:
    """The connection's state is part of it."""
    health = ask(artifacts, "GET", "/healthz").json()

    assert health == {"ok": True, "broker": True, "protocol": 1}
