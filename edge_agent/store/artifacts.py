"""Artifact files by sha256, and the verified manifests of releases.

Invariants: a file ``artifacts/<sha256>`` is complete and was verified when it got that
name; it is verified again whenever it is loaded, over the very bytes that are used.
A release is loadable when its manifest and all its device files are.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from edge_agent.base.digest import sha256_hex
from edge_agent.errors import StoreError
from edge_agent.store.disk import PART_SUFFIX, disk_error, write_durably
from edge_agent.wire.codec import decode
from edge_agent.wire.errors import WireError
from edge_agent.wire.manifest import FileRef, Release
from edge_agent.wire.profile import ReferenceProfile

NOT_PRUNED = "artifacts.not_pruned"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedRelease:
    """A release whose every device file was verified over these bytes."""

    release: Release
    model: bytes
    reference: ReferenceProfile
    golden: bytes


def load_files(release: Release, read: Callable[[FileRef], bytes]) -> LoadedRelease:
    """Return a release with its files; ``read`` verifies each.

    Raises:
        StoreError: A file is missing or damaged.
    """
    bundle = release.bundle
    try:
        reference = decode(read(bundle.reference), ReferenceProfile, limit=8 << 20)
    except WireError as error:
        raise StoreError("AGENT-STORE-007", f"reference profile: {error}") from error
    return LoadedRelease(
        release=release,
        model=read(bundle.model),
        reference=reference,
        golden=read(bundle.golden),
    )


class ArtifactStore:
    """The folders ``artifacts`` and ``releases`` of a state folder."""

    def __init__(self, state_dir: Path) -> None:
        """Point at a state folder; the folders are made where they are missing.

        Raises:
            StoreError: They cannot be made.
        """
        self.state_dir = state_dir
        self._artifacts = state_dir / "artifacts"
        self._releases = state_dir / "releases"
        try:
            for folder in (self._artifacts, self._releases):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_error(error) from error

    def path(self, sha256: str) -> Path:
        """Return where an artifact is or would be."""
        return self._artifacts / sha256

    def part_path(self, sha256: str) -> Path:
        """Return where an unfinished download of an artifact is or would be."""
        return self._artifacts / (sha256 + PART_SUFFIX)

    def has(self, file: FileRef) -> bool:
        """Tell whether an artifact is there with its full length."""
        try:
            return self.path(file.sha256).stat().st_size == file.bytes
        except OSError:
            return False

    def read(self, file: FileRef) -> bytes:
        """Return an artifact's bytes, verified.

        Raises:
            StoreError: It is missing (AGENT-STORE-004) or damaged (AGENT-STORE-005).
        """
        try:
            data = self.path(file.sha256).read_bytes()
        except OSError as error:
            raise StoreError(
                "AGENT-STORE-004", f"artifact {file.name} cannot be read: {error}"
            ) from error
        if len(data) != file.bytes or sha256_hex(data) != file.sha256:
            raise StoreError(
                "AGENT-STORE-005",
                f"artifact {file.name} is not what its digest says",
                cure="assign the release again: the file is fetched anew",
            )
        return data

    def drop(self, file: FileRef) -> None:
        """Remove an artifact and its unfinished download."""
        self.path(file.sha256).unlink(missing_ok=True)
        self.part_path(file.sha256).unlink(missing_ok=True)

    def read_release(self, number: int) -> Release:
        """Return the manifest of a release that was verified on this device.

        Raises:
            StoreError: There is none, or it is damaged (AGENT-STORE-006).
        """
        path = self._releases / f"{number}.json"
        try:
            return decode(path.read_bytes(), Release)
        except (OSError, WireError) as error:
            raise StoreError(
                "AGENT-STORE-006", f"release {number} is not on this device: {error}"
            ) from error

    def release_digest(self, number: int) -> str:
        """Return the sha256 of a kept manifest ("": it is not there)."""
        try:
            return sha256_hex((self._releases / f"{number}.json").read_bytes())
        except OSError:
            return ""

    def write_release(self, number: int, manifest: bytes) -> None:
        """Keep the exact bytes of a verified manifest.

        Raises:
            StoreError: The disk is full or not writable.
        """
        write_durably(self._releases / f"{number}.json", manifest)

    def load_release(self, number: int) -> LoadedRelease:
        """Return a release with its files, all verified.

        Raises:
            StoreError: A file is missing or damaged.
        """
        return load_files(self.read_release(number), self.read)

    def prune(self, keep: Iterable[int], also: Iterable[str] = ()) -> None:
        """Remove every release but those of ``keep``, and artifacts nobody needs.

        Manifests go first, so one that is there has all its files; what is cut short
        is done by the next call. Where a manifest to be kept is damaged, nobody knows
        its files: then no file is removed.

        Args:
            keep: Numbers of releases (0: none).
            also: Digests of further files that are in use.

        Raises:
            StoreError: The disk cannot be read or written.
        """
        numbers, files = set(keep), set(also)
        try:
            names = {f"{number}.json" for number in numbers}
            for path in self._releases.iterdir():
                if path.name not in names:
                    path.unlink(missing_ok=True)
            try:
                for number in sorted(numbers - {0}):
                    refs = self.read_release(number).bundle.device_files
                    files |= {ref.sha256 for ref in refs}
            except StoreError as error:
                log.warning(NOT_PRUNED, extra={"why": error.text})
                return
            for path in self._artifacts.iterdir():
                if path.name.removesuffix(PART_SUFFIX) not in files:
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise disk_error(error) from error
