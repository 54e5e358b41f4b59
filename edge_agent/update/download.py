"""Fetching one artifact by its digest, so that a power cut costs only the last chunk.

The part that is there is hashed and the rest asked for with ``Range``. A file gets its
final name only when length and digest are right, and after it is on disk. The server
is not trusted with anything: it can neither send more than was signed for nor
something else.
"""

import hashlib
import logging
import os
import shutil
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from edge_agent.errors import UpdateError
from edge_agent.store.artifacts import ArtifactStore
from edge_agent.store.disk import disk_error, sync_folder
from edge_agent.update.blocks import BlockWindow
from edge_agent.update.pace import Pace
from edge_agent.wire.block import BlockHeader, BlockRequest
from edge_agent.wire.manifest import FileRef

if TYPE_CHECKING:
    import httpx

log = logging.getLogger(__name__)

CHUNK_BYTES = 64 << 10
TIMEOUT_S = 10.0
SPARE_BYTES = 1 << 20
BLOCK_POLL_S = 0.2
NO_SPACE = "AGENT-UPDATE-021"
TOO_LONG, OTHER_DIGEST, REFUSED = (
    "AGENT-UPDATE-022",
    "AGENT-UPDATE-023",
    "AGENT-UPDATE-027",
)
UNREACHABLE, BAD_ANSWER = "AGENT-UPDATE-020", "AGENT-UPDATE-024"
INTERRUPTED = "AGENT-UPDATE-025"
NO_BLOCKS = "AGENT-UPDATE-026"
NO_HTTP = "artifact.no_http"
FETCHED = "artifact.fetched"
_OK, _PARTIAL, _BAD_RANGE = 200, 206, 416


class InterruptedDownloadError(UpdateError):
    """Something more urgent came up; the part that is there is kept."""


class BlockPort(Protocol):
    """The way to an artifact through the broker."""

    def ask(self, request: BlockRequest) -> bool:
        """Ask the hub for blocks; ``False``: there is no session to ask over."""
        ...

    def poll(self, timeout_s: float) -> tuple[BlockHeader, bytes] | None:
        """Return the next block, or ``None`` when no sound one comes in time."""
        ...


def keep_quiet(_error: UpdateError) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """How artifacts may come.

    ``interrupted`` is asked after every chunk; true ends the download for now. ``ca``
    is an authority to trust beside the system's, for HTTPS. ``blocks`` is the way
    """

    interrupted: Callable[[], bool]
    ca: Path | None = None
    blocks: BlockPort | None = None
    tell: Callable[[UpdateError], None] = keep_quiet
    local: Path | None = None

    def brings(self, file: FileRef) -> bool:
        """Tell whether a person brought a file, as long as it was signed."""
        try:
            return (
                self.local is not None
                and (self.local / file.sha256).stat().st_size == file.bytes
            )
        except OSError:
            return False

    def context(self) -> ssl.SSLContext:
        """Return what checks a server's certificate."""
        context = ssl.create_default_context()
        if self.ca is not None and self.ca.exists():
            context.load_verify_locations(self.ca)
        return context


def fetch_artifact(
    base_url: str, file: FileRef, store: ArtifactStore, ways: Ways
) -> bool:
    """Fetch an artifact unless it is there already.

    What a person brought comes first, then HTTP; where the server cannot be reached,
    blocks through the broker. Each goes on from what the other left.

    Args:
        base_url: The hub's address; ``/artifacts/{sha256}`` is added. Empty: no HTTP.
        file: What to fetch.
        store: Where it goes.
        ways: How it may come.

    Returns:
        Whether it came through the broker.

    Raises:
        InterruptedDownloadError: It was asked to stop.
        UpdateError: The server cannot be reached (retryable), the disk is too full,
            or what came is not what was signed.
        StoreError: The disk cannot be written.
    """
    if store.has(file):
        return False
    part = store.part_path(file.sha256)
    is_local = _take_local(part, file, ways)
    if not is_local:
        check_space(part, file)
    url = f"{base_url.rstrip('/')}/artifacts/{file.sha256}" if base_url else ""
    by_blocks = not url and not is_local
    try:
        if by_blocks:
            _download("", file, part, ways)
        else:
            by_blocks = _download_somehow(url, file, part, ways)
        part.replace(store.path(file.sha256))
        sync_folder(part.parent)
    except OSError as error:
        raise disk_error(error) from error
    log.info(FETCHED, extra={"artifact": file.name, "through_broker": by_blocks})
    return by_blocks


def _download_somehow(url: str, file: FileRef, part: Path, ways: Ways) -> bool:
    """Download over HTTP, else in blocks; return whether it was in blocks."""
    try:
        _download(url, file, part, ways)
    except UpdateError as error:
        if ways.blocks is None or error.code not in {UNREACHABLE, BAD_ANSWER}:
            raise
        log.info(NO_HTTP, extra={"artifact": file.name, "why": error.text})
        no_http = error
    else:
        return False
    try:
        _download("", file, part, ways)
    except UpdateError as error:
        if error.code not in {NO_BLOCKS, REFUSED}:
            raise
        # Why the usual way fails says more than that the other has nothing either.
        text = f"{no_http.text}; {error.text}"
        raise UpdateError(no_http.code, text, retryable=True) from error
    return True


def _take_local(part: Path, file: FileRef, way: Ways) -> bool:
    """Move a file that a person brought to where its download would be."""
    if way.local is None or not way.brings(file):
        return False
    try:
        (way.local / file.sha256).replace(part)
    except OSError:
        return False
    return True


def check_space(part: Path, file: FileRef, *, beside: int = 0) -> None:
    """Check that a file has room, with ``beside`` bytes of something else.

    What an earlier attempt left of it is there already.

    Raises:
        UpdateError: It has not (``AGENT-UPDATE-021``, retryable: a full disk says
            nothing against a release).
    """
    try:
        have = part.stat().st_size
    except OSError:
        have = 0
    whole = file.bytes + beside
    needed = max(0, whole + whole // 10 - have) + SPARE_BYTES
    free = shutil.disk_usage(part.parent).free
    if free < needed:
        raise UpdateError(
            NO_SPACE,
            f"{file.name} needs {needed} bytes of disk, {free} are free",
            cure="free disk space on the device",
            retryable=True,
        )


def _download(url: str, file: FileRef, part: Path, way: Ways) -> None:
    digest = hashlib.sha256()
    with part.open("ab+") as out:
        have = _hash_part(out, digest, file)
        if have < file.bytes:
            stream = _stream if url else _stream_blocks
            stream(url, file, (out, digest, have), way)
        out.flush()
        os.fsync(out.fileno())
        size = out.tell()
    if size != file.bytes or digest.hexdigest() != file.sha256:
        part.unlink()
        raise UpdateError(
            OTHER_DIGEST,
            f"{file.name} is not what was signed: digest differs",
            # What an earlier attempt left may be to blame: the whole is tried once.
            retryable=have > 0,
        )


def _hash_part(out: BinaryIO, digest: "hashlib._Hash", file: FileRef) -> int:
    """Hash what an earlier attempt left; more than the file's length is thrown away."""
    out.seek(0)
    have = 0
    while chunk := out.read(CHUNK_BYTES):
        digest.update(chunk)
        have += len(chunk)
    if have <= file.bytes:
        return have
    out.truncate(0)
    raise UpdateError(
        TOO_LONG, f"{file.name} is longer than was signed", retryable=True
    )


def _stream(
    url: str,
    file: FileRef,
    state: "tuple[BinaryIO, hashlib._Hash, int]",
    way: Ways,
) -> None:
    import httpx  # 17 MiB that a device needs only while it downloads

    out, digest, have = state
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        with (
            httpx.Client(
                timeout=TIMEOUT_S,
                trust_env=False,
                verify=way.context() if url.startswith("https:") else False,
            ) as client,
            client.stream("GET", url, headers=headers) as response,
        ):
            _check_response(response, file, out, have=have)
            pace = Pace(time.monotonic())
            # As it comes: a chunk of a set size would keep us waiting for its end.
            for chunk in response.iter_raw():
                have += len(chunk)
                if have > file.bytes:
                    raise UpdateError(
                        TOO_LONG, f"{file.name} is longer than was signed"
                    )
                digest.update(chunk)
                out.write(chunk)
                _keep_pace(file, pace, len(chunk))
                if way.interrupted():
                    raise InterruptedDownloadError(
                        INTERRUPTED, "interrupted", retryable=True
                    )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UpdateError(
            UNREACHABLE,
            f"{file.name} cannot be fetched: {str(error) or type(error).__name__}",
            retryable=True,
        ) from error
    if have < file.bytes:
        raise UpdateError(UNREACHABLE, f"{file.name} ended early", retryable=True)


def _keep_pace(file: FileRef, pace: Pace, came: int) -> None:
    now = time.monotonic()
    if pace.is_too_slow(came, now):
        raise UpdateError(UNREACHABLE, f"{file.name} comes too slowly", retryable=True)
    if pace.is_turn_over(now):
        raise InterruptedDownloadError(INTERRUPTED, "makes a pause", retryable=True)


def _stream_blocks(
    _url: str,
    file: FileRef,
    state: "tuple[BinaryIO, hashlib._Hash, int]",
    way: Ways,
) -> None:
    out, digest, have = state
    port = way.blocks
    if port is None:
        raise UpdateError(
            UNREACHABLE, f"there is no way to {file.name}", retryable=True
        )
    window = BlockWindow(total=file.bytes, have=have, heard_at=time.monotonic())
    while not window.is_done:
        now = time.monotonic()
        if window.is_hopeless(now):
            raise UpdateError(
                NO_BLOCKS,
                f"the hub sends no blocks of {file.name}",
                cure="is the hub connected to the broker, and this the hub's release?",
                retryable=True,
            )
        for offset, count in window.to_ask(now):
            port.ask(BlockRequest(sha256=file.sha256, offset=offset, count=count))
        came = port.poll(BLOCK_POLL_S)
        if came is not None and came[0].sha256 == file.sha256:
            _refuse_refusal(file, came[0])
            for part in window.take(*came, time.monotonic()):
                digest.update(part)
                out.write(part)
        if way.interrupted():
            raise InterruptedDownloadError(INTERRUPTED, "interrupted", retryable=True)


def _refuse_refusal(file: FileRef, header: BlockHeader) -> None:
    if header.refusal:
        raise UpdateError(
            REFUSED,
            f"the hub has no blocks of {file.name}: {header.refusal}",
            retryable=True,
        )


def _check_response(
    response: "httpx.Response", file: FileRef, out: BinaryIO, *, have: int
) -> None:
    """Accept the rest of the file only; anything else starts anew next time."""
    if have == 0 and response.status_code == _OK:
        return
    start = response.headers.get("Content-Range", "")
    if response.status_code == _PARTIAL and start.startswith(f"bytes {have}-"):
        return
    if response.status_code in {_OK, _PARTIAL, _BAD_RANGE}:
        out.truncate(0)
    raise UpdateError(
        BAD_ANSWER,
        f"the server answered {response.status_code} for {file.name}",
        retryable=True,
    )
