"""A folder that a person brought: metadata, artifacts and an assignment, all untrusted.

``hub releases download`` writes such folders. Nothing here decides what is true: the
bundle and the envelope go through the same checks as those that the broker delivers,
and artifacts count by length and digest. Only regular files are read, and no more of
them than the limits of the wire allow. Called by ``edge-agent update``.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from edge_agent.base.exit_codes import ExitCode
from edge_agent.base.regular import open_regular, read_regular
from edge_agent.errors import UpdateError
from edge_agent.update.codes import DAMAGED_MESSAGE, INCOMPLETE_METADATA
from edge_agent.update.download import OTHER_DIGEST, TOO_LONG
from edge_agent.wire.codec import decode
from edge_agent.wire.control import TufBundle
from edge_agent.wire.envelope import Envelope
from edge_agent.wire.errors import WireError
from edge_agent.wire.manifest import FileRef

TUF, ARTIFACTS, ASSIGNMENTS = "tuf", "artifacts", "assignments"
MAX_FILES = 256
MAX_FILE_BYTES = 1 << 18
MAX_ENVELOPE_BYTES = 64 << 10
_METADATA_NAME = re.compile(r"([0-9]{1,16}\.)?[a-z]{1,32}\.json")
_CHUNK_BYTES = 1 << 20


class NotInFolderError(UpdateError):
    """The folder has nothing for this device."""

    exit_code = ExitCode.NOT_FOUND


class Folder:
    """Reads one folder."""

    def __init__(self, path: Path) -> None:
        """Point at a folder; nothing is read yet."""
        self._path = path

    def bundle(self) -> TufBundle:
        """Return the metadata.

        Raises:
            UpdateError: There is none, it cannot be read, or it is more than a device
                takes (AGENT-UPDATE-010).
        """
        files = {path.name: _text(path) for path in self._metadata()}
        if not files:
            raise UpdateError(
                INCOMPLETE_METADATA,
                f"there is no metadata in {self._path / TUF}",
                cure="name the folder that `hub releases download` wrote",
            )
        return TufBundle(files=files)

    def assignment(self, device: str) -> Envelope:
        """Return the envelope for a device.

        Raises:
            NotInFolderError: There is none (AGENT-UPDATE-091).
            UpdateError: It is no envelope (AGENT-UPDATE-031).
        """
        path = self._path / ASSIGNMENTS / f"{device}.json"
        if not os.path.lexists(path):
            raise NotInFolderError(
                "AGENT-UPDATE-091",
                f"{self._path} has no assignment for {device}",
                cure=f"on the hub: hub releases download --device {device} --to FOLDER",
            )
        try:
            return decode(read_regular(path, MAX_ENVELOPE_BYTES), Envelope)
        except (OSError, WireError) as error:
            raise UpdateError(DAMAGED_MESSAGE, f"{path.name}: {error}") from error

    def artifact(self, file: FileRef) -> Path:
        """Return where an artifact is, as long as it was signed; it may be damaged.

        Raises:
            UpdateError: It is missing or cut off (AGENT-UPDATE-090), or longer than was
                signed (AGENT-UPDATE-022).
        """
        path = self._path / ARTIFACTS / file.sha256
        size = path.stat().st_size if _is_regular(path) else -1
        if size > file.bytes:
            raise UpdateError(TOO_LONG, f"{file.name} is longer than was signed")
        if size < file.bytes:
            how = "is not" if size < 0 else "is cut off"
            raise UpdateError(
                "AGENT-UPDATE-090",
                f"{file.name} ({file.sha256[:12]}) {how} in {path.parent}",
                cure="write the folder anew with `hub releases download`",
            )
        return path

    def check(self, file: FileRef) -> Path:
        """Return where an artifact is, with its digest checked.

        Raises:
            UpdateError: As :meth:`artifact`, or it is not what was signed
                (AGENT-UPDATE-023).
        """
        path = self.artifact(file)
        digest = hashlib.sha256()
        try:
            with open_regular(path, file.bytes) as data:
                while chunk := data.read(_CHUNK_BYTES):
                    digest.update(chunk)
        except OSError as error:
            raise UpdateError("AGENT-UPDATE-090", f"{file.name}: {error}") from error
        if digest.hexdigest() != file.sha256:
            raise UpdateError(
                OTHER_DIGEST,
                f"{file.name} is not what was signed: digest differs",
            )
        return path

    def _metadata(self) -> Iterator[Path]:
        try:
            names = sorted(path.name for path in (self._path / TUF).iterdir())
        except OSError:
            return
        known = [name for name in names if _METADATA_NAME.fullmatch(name)]
        if len(known) > MAX_FILES:
            raise UpdateError(
                INCOMPLETE_METADATA, f"{len(known)} files of metadata are too many"
            )
        yield from (self._path / TUF / name for name in known)


def _text(path: Path) -> str:
    try:
        return read_regular(path, MAX_FILE_BYTES).decode()
    except (OSError, ValueError) as error:
        raise UpdateError(
            INCOMPLETE_METADATA, f"metadata {path.name} cannot be read: {error}"
        ) from error


def _is_regular(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()
