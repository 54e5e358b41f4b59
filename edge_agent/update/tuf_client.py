"""TUF's client workflow over HTTP, usable by itself: ``edge-agent tuf``.

The same updater, with the same limits and the same verification, that the agent feeds
with bundles (:mod:`edge_agent.update.metadata`). Here metadata comes from a web server
and the trust anchor is the ``root.json`` that :func:`start_trust` put in the folder.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from tuf.api import exceptions as tuf_errors
from tuf.api.serialization import DeserializationError
from tuf.ngclient.updater import Updater

from edge_agent.errors import UpdateError
from edge_agent.store.disk import disk_error, sync_folder, write_durably
from edge_agent.update.metadata import LIMITS

ROOT_FILE = "root.json"


def start_trust(folder: Path, root: Path) -> None:
    """Make ``root`` the anchor of the trusted metadata in ``folder``.

    Raises:
        UpdateError: It cannot be read (``AGENT-TUF-001``).
        StoreError: The folder cannot be written.
    """
    try:
        data = root.read_bytes()
    except OSError as error:
        raise UpdateError(
            "AGENT-TUF-001",
            f"the root cannot be read: {error}",
            cure="name the file that the repository's owner gave you",
        ) from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_durably(folder / ROOT_FILE, data)
    except OSError as error:
        raise disk_error(error) from error


def refresh(folder: Path, url: str) -> None:
    """Bring the trusted metadata in ``folder`` up to date with a repository.

    Raises:
        UpdateError: Nothing is trusted yet (``AGENT-TUF-001``); something fails to
            verify or to come (``AGENT-TUF-002``), and what was verified before stays.
    """
    with _mapped():
        _updater(folder, url).refresh()


def download(
    folder: Path, url: str, names: Sequence[str], *, base_url: str, to: Path
) -> list[Path]:
    """Fetch targets, in this order, each verified; one that is there is not fetched.

    Args:
        folder: Trusted metadata.
        url: Where the repository's metadata is.
        names: Target paths.
        base_url: Where targets are.
        to: Folder for them; a target's name is its quoted path.

    Returns:
        The files.

    Raises:
        UpdateError: A target is not signed (``AGENT-TUF-003``), or something fails to
            verify or to come (``AGENT-TUF-002``). What came before it stays.
        StoreError: A file cannot be written.
    """
    files: list[Path] = []
    with _mapped():
        updater = _updater(folder, url)
        for name in names:
            info = updater.get_targetinfo(name)
            if info is None:
                raise UpdateError("AGENT-TUF-003", f"no role vouches for {name}")
            path = to / quote_target(info.path)
            if updater.find_cached_target(info, str(path)) is None:
                part = path.with_name(path.name + ".part")
                updater.download_target(info, str(part), base_url)
                _settle(part, path)
            files.append(path)
    return files


def quote_target(path: str) -> str:
    """Return one file name for a target path, whatever it holds."""
    from urllib.parse import quote

    return quote(path, "")


def _settle(part: Path, path: Path) -> None:
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)
    sync_folder(path.parent)


def _updater(folder: Path, url: str) -> Updater:
    if not (folder / ROOT_FILE).exists():
        raise UpdateError(
            "AGENT-TUF-001",
            f"nothing is trusted in {folder} yet",
            cure="begin with `edge-agent tuf --metadata-dir DIR init ROOT_FILE`",
        )
    if not url.startswith(("http://", "https://")):
        raise UpdateError("AGENT-TUF-002", f"{url!r} is no http:// or https:// URL")
    return Updater(str(folder), url, config=LIMITS, bootstrap=None)


@contextlib.contextmanager
def _mapped() -> Iterator[None]:
    try:
        yield
    except (
        tuf_errors.RepositoryError,
        tuf_errors.DownloadError,
        DeserializationError,
    ) as error:
        why = str(error) or str(error.__cause__ or "")  # TUF drops urllib3's reason.
        raise UpdateError(
            "AGENT-TUF-002", f"{type(error).__name__}: {why}", retryable=True
        ) from error
    except OSError as error:
        raise disk_error(error) from error
