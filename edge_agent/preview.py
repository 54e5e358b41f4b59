"""``edge-agent update check``: what an update would be, judged as the agent judges it.

Metadata is verified in a scratch copy of the agent's trusted set, so nothing changes;
the agent itself judges again. ``apply`` looks here first, so that a person is told at
once, and with the same codes, what is wrong with a folder.
"""

import contextlib
import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from edge_agent.config import AgentConfig, place_tls
from edge_agent.errors import UpdateError
from edge_agent.opening import read_root
from edge_agent.store.slots import Slots
from edge_agent.update.codes import WRONG_MANIFEST
from edge_agent.update.download import OTHER_DIGEST, Ways
from edge_agent.update.folder import Folder, NotInFolderError
from edge_agent.update.metadata import Trust
from edge_agent.update.trusted_time import TrustedTime
from edge_agent.update.verify import (
    check_floor,
    check_targets,
    open_assignment,
    read_manifest,
)
from edge_agent.update.web import fetch_bundle, fetch_file
from edge_agent.update_state import TUF, DeviceState, read_device_state, read_roles
from edge_agent.wire.control import Assignment, TufBundle, TufVersions
from edge_agent.wire.manifest import FileRef, Release

_RELEASE_TARGET = re.compile(r"models/[^/]+/([0-9]+)/release\.json")
MAX_MANIFEST_BYTES = 1 << 20


class Source(Protocol):
    """Where metadata, an assignment and files may come from."""

    def bundle(self) -> TufBundle | None:
        """Return metadata; ``None``: what the agent has."""
        ...

    def assignment(self, device: str, trust: Trust, slots: Slots) -> Assignment | None:
        """Return the assignment to judge, verified; ``None``: there is none."""
        ...

    def manifest(self, file: FileRef) -> bytes | None:
        """Return the bytes of a manifest, unverified; ``None``: it has none."""
        ...

    def find(self, file: FileRef) -> Path | None:
        """Return a verified file of it; ``None``: it does not bring files."""
        ...


class PreviewFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the assigned release, and where it is."""

    name: str
    sha256: str
    bytes: int
    place: Literal["here", "folder", "hub"]


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """What ``edge-agent update check`` says."""

    device: str
    metadata: TufVersions
    valid_until: float
    """When the metadata expires (Unix time)."""
    active: int
    newest: int
    """The highest release that is signed; 0: none."""
    assigned: int
    seq: int
    """Of the assignment that was judged; 0: none is known."""
    is_new: bool
    """Whether the device has not taken that assignment up yet."""
    seen: int
    """The newest assignment that the device has taken up under the present key."""
    files: list[PreviewFile]
    fetch_bytes: int

    def lines(self) -> list[str]:
        """Return it as text."""
        roles = msgspec.structs.asdict(self.metadata).items()
        versions = ", ".join(f"{role} {version}" for role, version in roles)
        lines = [
            f"metadata     verifies: {versions}",
            f"signed       newest is release {self.newest}",
            f"active       release {self.active}",
            f"assigned     {self._assigned()}",
        ]
        for file in self.files:
            place = {"here": "is here already", "folder": "is in the folder"}
            where = place.get(file.place, "would be downloaded")
            lines.append(f"file         {file.name}, {file.bytes} bytes, {where}")
        if self.files:
            lines.append(f"to download  {self.fetch_bytes} bytes")
        return lines

    def _assigned(self) -> str:
        if not self.seq:
            return "nothing"
        news = "new" if self.is_new else "known to the device"
        return f"release {self.assigned}, assignment {self.seq}, {news}"


class FromAgent:
    """What the agent has: metadata that came, and nothing else."""

    def bundle(self) -> TufBundle | None:
        """Return nothing: the agent's own is checked."""
        return None

    def assignment(self, device: str, trust: Trust, slots: Slots) -> Assignment | None:
        """Return the one that the device has taken up."""
        del device, trust
        return slots.assignment

    def manifest(self, file: FileRef) -> bytes | None:
        """Return nothing."""
        del file
        return None

    def find(self, file: FileRef) -> Path | None:
        """Return nothing."""
        del file
        return None


class FromFolder(FromAgent):
    """A folder that a person brought."""

    def __init__(self, folder: Folder) -> None:
        """Read from it."""
        self._folder = folder

    def bundle(self) -> TufBundle | None:
        """Return its metadata."""
        return self._folder.bundle()

    def assignment(self, device: str, trust: Trust, slots: Slots) -> Assignment | None:
        """Return the one that it has for this device."""
        del slots
        try:
            envelope = self._folder.assignment(device)
        except NotInFolderError:
            return None
        return open_assignment(envelope, device, trust.verify)

    def manifest(self, file: FileRef) -> bytes | None:
        """Return its bytes."""
        return self._folder.check(file).read_bytes()

    def find(self, file: FileRef) -> Path | None:
        """Return where it is; it has every file, or it is refused."""
        return self._folder.check(file)


class FromWeb(FromAgent):
    """The HTTP server of a hub."""

    def __init__(self, url: str, ca: Path | None) -> None:
        """Ask this server."""
        self._url = url
        self._ways = Ways(interrupted=lambda: False, ca=ca)

    def bundle(self) -> TufBundle | None:
        """Return its metadata."""
        return fetch_bundle(self._url, self._ways)

    def manifest(self, file: FileRef) -> bytes | None:
        """Return its bytes."""
        return fetch_file(self._url, file, self._ways)


def web_source(config: AgentConfig, config_path: Path, url: str) -> FromWeb:
    """Return the source that is a hub's HTTP server."""
    broker = place_tls(config, config_path.resolve().parent)
    return FromWeb(url, Path(broker.tls.ca) if broker.tls.enabled else None)


def look(
    config: AgentConfig, config_path: Path, source: Source
) -> tuple[Preview, dict[str, Path]]:
    """Judge what a source offers.

    Args:
        config: The device's.
        config_path: Where that was read.
        source: Where metadata, assignment and files come from.

    Returns:
        What was found, and the verified files of the source that the device lacks, by
        sha256.

    Raises:
        UpdateError: Metadata, assignment, manifest or a file is refused.
        AgentError: The root of trust or the state folder cannot be read.
    """
    state = read_device_state(config, config_path)
    root = read_root(config_path.resolve().parent / config.trust.root)
    with _scratch_trust(state.folder / TUF, root) as (trust, folder):
        _refresh(trust, source.bundle(), state.time)
        assignment = source.assignment(config.device.id, trust, state.slots)
        newest = _newest(trust, folder)
        seen = state.seen(trust.online_keys)
        files: list[PreviewFile] = []
        brought: dict[str, Path] = {}
        if assignment is not None and assignment.release != state.slots.active:
            check_floor(assignment, trust)
            refs = _refs(trust, assignment, source, state)
            files = [_place(ref, source, state, brought) for ref in refs]
        preview = Preview(
            device=config.device.id,
            metadata=trust.versions,
            valid_until=_valid_until(folder),
            active=state.slots.active,
            newest=newest,
            assigned=assignment.release if assignment else 0,
            seq=assignment.seq if assignment else 0,
            is_new=assignment is not None and assignment.seq > seen,
            seen=seen,
            files=files,
            fetch_bytes=sum(file.bytes for file in files if file.place == "hub"),
        )
    return preview, brought


def _refresh(trust: Trust, bundle: TufBundle | None, time: TrustedTime) -> None:
    """Trust new metadata; what seems to have expired is judged by its own time too."""
    try:
        trust.refresh(bundle, time.now())
    except UpdateError:
        if bundle is None or not time.note(trust.signed_at(bundle)):
            raise
        trust.refresh(bundle, time.now())


def _refs(
    trust: Trust, assignment: Assignment, source: Source, state: DeviceState
) -> list[FileRef]:
    """Return the manifest and the files of a release, as far as they are known."""
    signed = trust.find(assignment.target)
    manifest = _read_manifest(signed, assignment, source, state)
    if manifest is None:
        return [signed]
    check_targets(manifest, trust)
    return [signed, *manifest.bundle.device_files]


def _read_manifest(
    signed: FileRef, assignment: Assignment, source: Source, state: DeviceState
) -> Release | None:
    if signed.bytes > MAX_MANIFEST_BYTES:
        raise UpdateError(WRONG_MANIFEST, f"a manifest of {signed.bytes} bytes")
    if _is_here(signed, state):
        data: bytes | None = _artifact(signed, state).read_bytes()
    else:
        data = source.manifest(signed)
    if data is None:
        return None
    if hashlib.sha256(data).hexdigest() != signed.sha256:
        raise UpdateError(
            OTHER_DIGEST, f"{signed.name} is not what was signed: digest differs"
        )
    return read_manifest(data, assignment)


def _place(
    file: FileRef, source: Source, state: DeviceState, brought: dict[str, Path]
) -> PreviewFile:
    place: Literal["here", "folder", "hub"] = "here"
    if not _is_here(file, state):
        path = source.find(file)
        place = "hub" if path is None else "folder"
        if path is not None:
            brought[file.sha256] = path
    return PreviewFile(
        name=file.name, sha256=file.sha256, bytes=file.bytes, place=place
    )


def _is_here(file: FileRef, state: DeviceState) -> bool:
    try:
        return _artifact(file, state).stat().st_size == file.bytes
    except OSError:
        return False


def _artifact(file: FileRef, state: DeviceState) -> Path:
    return state.folder / "artifacts" / file.sha256


def _newest(trust: Trust, folder: Path) -> int:
    """Return the highest release that a role which may vouches for."""
    with contextlib.suppress(UpdateError):
        trust.find("models/any/0/release.json")  # has delegated metadata loaded
    try:
        data = msgspec.json.decode((folder / "models.json").read_bytes())
    except (OSError, msgspec.MsgspecError):
        return 0
    numbers = [0]
    for target in data["signed"]["targets"]:
        found = _RELEASE_TARGET.fullmatch(target)
        with contextlib.suppress(UpdateError):
            if found is not None:
                trust.find(target)
                numbers.append(int(found[1]))
    return max(numbers)


def _valid_until(folder: Path) -> float:
    return min((role.expires_at for role in read_roles(folder)), default=0.0)


@contextlib.contextmanager
def _scratch_trust(trusted: Path, root: bytes) -> Iterator[tuple[Trust, Path]]:
    """Give a copy of the agent's trusted set, which may change; and its folder."""
    with tempfile.TemporaryDirectory(prefix="shoal-check-") as scratch:
        folder = Path(scratch) / TUF
        folder.mkdir()
        for path in trusted.rglob("*") if trusted.exists() else ():
            copy = folder / path.relative_to(trusted)
            # The agent may just be replacing a file: without it the copy is as good.
            with contextlib.suppress(FileNotFoundError):
                if path.is_symlink() or path.is_file():
                    copy.parent.mkdir(exist_ok=True)
                    shutil.copy2(path, copy, follow_symlinks=False)
        yield Trust(folder, root), folder
