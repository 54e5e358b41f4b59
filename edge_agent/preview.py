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
from typing import Literal

import msgspec

from edge_agent.config import AgentConfig
from edge_agent.errors import UpdateError
from edge_agent.opening import read_root
from edge_agent.store.artifacts import ArtifactStore
from edge_agent.update.codes import WRONG_MANIFEST
from edge_agent.update.delta import DeltaWay
from edge_agent.update.download import OTHER_DIGEST, Ways
from edge_agent.update.metadata import Trust
from edge_agent.update.trusted_time import TrustedTime
from edge_agent.update.verify import (
    check_floor,
    check_targets,
    read_manifest,
)
from edge_agent.update_source import Source
from edge_agent.update_state import TUF, DeviceState, read_device_state, read_roles
from edge_agent.wire.control import Assignment, TufBundle, TufVersions
from edge_agent.wire.manifest import FileRef, Release

_RELEASE_TARGET = re.compile(r"models/[^/]+/([0-9]+)/release\.json")
ARTIFACTS = "artifacts"
MAX_MANIFEST_BYTES = 1 << 20


Place = Literal["here", "folder", "hub", "patch"]
"""``patch``: it is made from a patch, which is a file of its own in the list."""


class PreviewFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the assigned release, and where it is."""

    name: str
    sha256: str
    bytes: int
    place: Place


_WHERE: dict[Place, str] = {
    "here": "is here already",
    "folder": "is in the folder",
    "hub": "would be downloaded",
    "patch": "would be made from the patch",
}


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
            where = _WHERE[file.place]
            lines.append(f"file         {file.name}, {file.bytes} bytes, {where}")
        if self.files:
            lines.append(f"to download  {self.fetch_bytes} bytes")
        return lines

    def _assigned(self) -> str:
        if not self.seq:
            return "nothing"
        news = "new" if self.is_new else "known to the device"
        return f"release {self.assigned}, assignment {self.seq}, {news}"


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
            refs, release = _refs(trust, assignment, source, state)
            files = [_place(ref, source, state, brought) for ref in refs]
            if release is not None:
                files = _patched(files, release, trust, state)
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
) -> tuple[list[FileRef], Release | None]:
    """Return the files of a release and its manifest, as far as they are known."""
    signed = trust.find(assignment.target)
    release = _read_manifest(signed, assignment, source, state)
    if release is None:
        return [signed], None
    check_targets(release, trust)
    return [signed, *release.bundle.device_files], release


def _patched(
    files: list[PreviewFile], release: Release, trust: Trust, state: DeviceState
) -> list[PreviewFile]:
    """Put the patch that would be fetched before the model that is made of it."""
    model, slots = release.bundle.model, state.slots
    is_fetched = any(f.sha256 == model.sha256 and f.place == "hub" for f in files)
    if not is_fetched or not (state.folder / ARTIFACTS).exists():
        return files
    way = DeltaWay(ArtifactStore(state.folder), trust, Ways(interrupted=lambda: False))
    offer = way.find(release, (slots.active, slots.previous))
    if offer is None:
        return files
    patch = PreviewFile(
        name=offer.patch.name,
        sha256=offer.patch.sha256,
        bytes=offer.patch.bytes,
        place="hub",
    )
    made = [
        msgspec.structs.replace(f, place="patch") if f.sha256 == model.sha256 else f
        for f in files
    ]
    return [patch, *made]


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
    place: Place = "here"
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
    return state.folder / ARTIFACTS / file.sha256


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
