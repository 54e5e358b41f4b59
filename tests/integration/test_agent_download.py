"""Downloads over real HTTP: resumed, capped, checked, interrupted."""

import http.server
import threading
from pathlib import Path

import pytest

from edge_agent.errors import UpdateError
from edge_agent.store.artifacts import ArtifactStore
from edge_agent.update.download import (
    InterruptedDownloadError,
    Ways,
    fetch_artifact,
)
from edge_agent.wire.manifest import FileRef
from tests.fakes.agent_hub import artifact_server, dripping_server, free_port
from tests.fakes.tuf_repository import sha256_of

DATA = bytes(range(256)) * 1200
FILE = FileRef(name="model.tflite", sha256=sha256_of(DATA), bytes=len(DATA))


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    """Return an empty store."""
    return ArtifactStore(tmp_path)


def never() -> bool:
    """Do not interrupt."""
    return False


def test_download(store: ArtifactStore) -> None:
    """A file arrives whole, under its digest, and is not fetched twice."""
    with artifact_server({FILE.sha256: DATA}) as (url, asked):
        fetch_artifact(url, FILE, store, Ways(interrupted=never))
        fetch_artifact(url, FILE, store, Ways(interrupted=never))

    assert asked == [""]
    assert store.read(FILE) == DATA
    assert not store.part_path(FILE.sha256).exists()


def test_interrupted_download_goes_on(store: ArtifactStore) -> None:
    """What is there already is not asked for again."""
    with artifact_server({FILE.sha256: DATA}) as (url, asked):
        with pytest.raises(InterruptedDownloadError):
            fetch_artifact(url, FILE, store, Ways(interrupted=lambda: True))
        have = store.part_path(FILE.sha256).stat().st_size
        fetch_artifact(url, FILE, store, Ways(interrupted=never))

    assert 0 < have < len(DATA)
    assert asked == ["", f"bytes={have}-"]
    assert store.read(FILE) == DATA


@pytest.mark.parametrize(
    ("served", "code"),
    [
        (DATA[:-1] + b"\x00", "AGENT-UPDATE-023"),
        (DATA + b"more", "AGENT-UPDATE-022"),
        (DATA[:-5], "AGENT-UPDATE-020"),
    ],
    ids=["changed", "longer", "shorter"],
)
def test_server_is_not_trusted(store: ArtifactStore, served: bytes, code: str) -> None:
    """Anything but the signed bytes is refused and never gets the file's name."""
    with (
        artifact_server({FILE.sha256: served}) as (url, _),
        pytest.raises(UpdateError) as error,
    ):
        fetch_artifact(url, FILE, store, Ways(interrupted=never))

    assert error.value.code == code
    assert not store.has(FILE)


@pytest.mark.parametrize(
    ("status", "start"), [(206, 0), (206, 999), (206, None), (200, None)]
)
def test_another_part_than_was_asked_for_starts_anew(
    store: ArtifactStore, status: int, start: int | None
) -> None:
    """Nothing is put behind what is there but its continuation."""
    store.part_path(FILE.sha256).write_bytes(DATA[:1000])

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer with the whole file, whatever was asked for."""
            self.send_response(status)
            if start is not None:
                place = f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"
                self.send_header("Content-Range", place)
            self.end_headers()
            self.wfile.write(DATA)

        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            with pytest.raises(UpdateError, match="AGENT-UPDATE-024") as error:
                fetch_artifact(url, FILE, store, Ways(interrupted=never))
        finally:
            server.shutdown()
    assert error.value.retryable
    assert store.part_path(FILE.sha256).stat().st_size == 0


def test_damaged_part_starts_anew(store: ArtifactStore) -> None:
    """A part that was damaged on disk costs one attempt, not the update."""
    store.part_path(FILE.sha256).write_bytes(b"x" * 1000)
    with artifact_server({FILE.sha256: DATA}) as (url, _):
        with pytest.raises(UpdateError, match=r"AGENT-UPDATE-023") as error:
            fetch_artifact(url, FILE, store, Ways(interrupted=never))
        assert error.value.retryable
        fetch_artifact(url, FILE, store, Ways(interrupted=never))

    assert store.read(FILE) == DATA


def test_absent_server_and_file(store: ArtifactStore) -> None:
    """A hub that is away or lacks the file is asked again later."""
    with (
        artifact_server({}) as (url, _),
        pytest.raises(UpdateError, match=r"AGENT-UPDATE-024") as missing,
    ):
        fetch_artifact(url, FILE, store, Ways(interrupted=never))
    with pytest.raises(UpdateError, match=r"AGENT-UPDATE-020") as away:
        fetch_artifact(
            f"http://127.0.0.1:{free_port()}", FILE, store, Ways(interrupted=never)
        )

    assert missing.value.retryable
    assert away.value.retryable


def test_a_server_that_drips_holds_nobody(store: ArtifactStore) -> None:
    """Every byte is an occasion to turn to something more urgent."""
    asked: list[int] = []

    def urgent() -> bool:
        asked.append(1)
        return len(asked) == 3

    with dripping_server(DATA) as url, pytest.raises(InterruptedDownloadError):
        fetch_artifact(url, FILE, store, Ways(interrupted=urgent))

    assert 0 < store.part_path(FILE.sha256).stat().st_size < 10


def test_full_disk(store: ArtifactStore) -> None:
    """A file that cannot fit is not begun; the disk is looked at again later."""
    # More than any disk has; wire types bound what can come from outside.
    huge = FileRef(name="model.tflite", sha256=FILE.sha256, bytes=1 << 60)
    with pytest.raises(UpdateError, match=r"AGENT-UPDATE-021") as error:
        fetch_artifact("http://127.0.0.1:1", huge, store, Ways(interrupted=never))

    assert error.value.retryable
    assert not store.part_path(FILE.sha256).exists()
