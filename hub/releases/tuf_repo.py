"""The TUF repository: signed metadata that says which releases are authentic.

Roles: root (its first version is the devices' trust anchor), targets (delegates
only), ``models`` (path-scoped, terminating), snapshot, timestamp. Snapshots are
consistent: every file but ``timestamp.json`` has its version in its name and is never
changed, so until the timestamp is replaced, last and in one step, the old set remains
valid and complete. "The present set" is what the timestamp names, its root included;
versions count on from there, whatever a crash left behind. A new set is signed and
checked as a client would, before its first file is written.

Called by :mod:`hub.releases.service` and :mod:`hub.releases.ceremony`; a lock keeps
processes apart.
"""

import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp

from edge_agent.wire.control import TufBundle, TufVersions
from edge_agent.wire.trust import read_min_release
from hub.errors import ConflictError, HubError
from hub.files import write_durably
from hub.locks import wait_for_flock
from hub.releases.metadata_set import TIMESTAMP_FILE, MetadataSet
from hub.releases.roles import (
    MODELS,
    RENEW_BEFORE,
    Holders,
    above,
    ends_within,
    first_root,
    first_targets,
    is_stale,
    next_models,
    next_root,
    next_snapshot,
    next_targets,
    next_timestamp,
    present_root,
    root_chain,
)
from hub.releases.signer import Signer

_T = TypeVar("_T", Root, Snapshot, Targets, Timestamp)
_ROOT_NAME = re.compile(r"^([0-9]+)\.root\.json\Z")

Write = Callable[[Path, bytes], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetRef:
    """A file that devices may install: its path among the targets, and its digest."""

    path: str
    sha256: str
    length: int


class TufRepo:
    """Reads and writes the metadata in one folder."""

    def __init__(
        self,
        folder: Path,
        signer: Signer,
        write: Write = write_durably,
        seen: Callable[[], TufVersions] = TufVersions,
    ) -> None:
        """Work on ``folder``.

        Args:
            folder: Where the metadata is.
            signer: Signs it.
            write: Replaces a file durably.
            seen: Returns the highest versions that devices say they trust; what is
                signed from now on is above them, as far as :func:`above` believes it.
        """
        self.seen = seen
        self._folder = folder
        self._signer = signer
        self._write = write
        self._cached: tuple[tuple[int, int], MetadataSet] | None = None

    @property
    def exists(self) -> bool:
        """Whether there is a repository in the folder."""
        return self._path(TIMESTAMP_FILE).exists()

    def create(self, holders: Holders, now: datetime) -> bytes:
        """Write the first version of every role and return the trust anchor.

        Raises:
            ConflictError: There is a repository already (``HUB-TUF-001``).
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        if self.exists:
            raise ConflictError("HUB-TUF-001", f"{self._folder} holds metadata already")
        root, targets = first_root(holders, now), first_targets(holders.models, now)
        models = next_models(1, now)
        snapshot = next_snapshot(1, now, targets, models)
        first = MetadataSet(
            root=self._sign("root", root, root),
            targets=self._sign("targets", targets, root),
            models=self._sign(MODELS, models, targets),
            snapshot=self._sign("snapshot", snapshot, root),
            timestamp=self._sign(
                "timestamp", next_timestamp(1, now, snapshot, root), root
            ),
        )
        first.verify()
        self._put(first.files())
        return first.root.to_bytes()

    def publish(self, targets: list[TargetRef], now: datetime) -> None:
        """Make exactly these files the authentic ones."""
        with self.changing() as present:
            files = {ref.path: _target_file(ref) for ref in targets}
            version = present.models.signed.version + 1
            self.replace(present, now, models=next_models(version, now, files))

    def refresh(self, now: datetime, force: Collection[str] = ()) -> bool:
        """Sign again what grows old and whose key is at hand; ``force``: these too.

        Returns:
            Whether anything was written.
        """
        if not force and not self._due(self.present(), now):
            return False
        with self.changing() as present:
            due = self._due(present, now) | set(force)
            if not due:
                return False
            if due == {"timestamp"}:
                self._replace_timestamp(present, now)
                return True
            models, targets = present.models.signed, present.targets.signed
            self.replace(
                present,
                now,
                root=next_root(present.root.signed, now) if "root" in due else None,
                targets=next_targets(targets, now) if "targets" in due else None,
                models=next_models(models.version + 1, now, models.targets)
                if MODELS in due
                else None,
            )
            return True

    @contextmanager
    def changing(self) -> Iterator[MetadataSet]:
        """Keep other processes out, and yield the present set."""
        with self._lock():
            yield self._load()

    def replace(
        self,
        present: MetadataSet,
        now: datetime,
        *,
        root: Root | None = None,
        targets: Targets | None = None,
        models: Targets | None = None,
    ) -> MetadataSet:
        """Put a new set in place of the present one; what is not given stays.

        Call it inside :meth:`changing`. Roots and roles come first, then the snapshot,
        then the timestamp.

        Raises:
            DeniedError: A key that must sign is not at hand (``HUB-KEYS-005``), or
                cannot be opened (``HUB-KEYS-004``). Nothing is written.
            HubError: No device would take it (``HUB-TUF-003``). Nothing is written.
        """
        seen = self.seen()
        chain = root_chain(root, seen.root) if root else []
        new_root = root = chain[-1] if chain else None
        new_root = new_root or present.root.signed
        new_targets = targets or present.targets.signed
        snapshot = next_snapshot(
            above(present.snapshot.signed.version, seen.snapshot),
            now,
            new_targets,
            models or present.models.signed,
        )
        timestamp = next_timestamp(
            above(present.timestamp.signed.version, seen.timestamp),
            now,
            snapshot,
            new_root,
        )
        new = MetadataSet(
            root=self._sign_root(present.root.signed, root) if root else present.root,
            targets=self._sign("targets", targets, new_root)
            if targets
            else present.targets,
            models=self._sign(MODELS, models, new_targets)
            if models
            else present.models,
            snapshot=self._sign("snapshot", snapshot, new_root),
            timestamp=self._sign("timestamp", timestamp, new_root),
        )
        new.verify(present.root.signed)
        old = present.files().keys() - {TIMESTAMP_FILE}
        files: dict[str, Metadata[Any]] = {
            f"{one.version}.root.json": self._sign_root(present.root.signed, one)
            for one in chain[:-1]
        }
        files |= {n: file for n, file in new.files().items() if n not in old}
        self._put(files)
        self._prune(new)
        return new

    @property
    def folder(self) -> Path:
        """Where the metadata lies."""
        return self._folder

    def present(self) -> MetadataSet:
        """Return the present set.

        Raises:
            HubError: It cannot be read (``HUB-TUF-002``).
        """
        if self._cached is not None and self._cached[0] == self._timestamp_state():
            return self._cached[1]
        # Another process might just be deleting what the timestamp no longer names.
        with self.changing() as present:
            return present

    def targets(self) -> dict[str, str]:
        """Return the authentic files: path to sha256."""
        found = self.present().models.signed.targets
        return {path: file.hashes["sha256"] for path, file in found.items()}

    def bundle(self) -> TufBundle:
        """Return the present set under the names that a TUF client asks for."""
        with self.changing() as present:
            names = [
                *present.files(),
                *(f"{n}.root.json" for n in range(1, present.root.signed.version)),
            ]
            files = {name: self._path(name).read_text("utf-8") for name in names}
        return TufBundle(files=files)

    def root(self, version: int) -> bytes | None:
        """Return the bytes of a version of root, ``None`` if it never was present."""
        if not 1 <= version <= self.present().root.signed.version:
            return None
        return self._path(f"{version}.root.json").read_bytes()

    def version(self) -> int:
        """Return the timestamp's version: it rises with every change."""
        return self.present().timestamp.signed.version

    def min_release(self) -> int:
        """Return the lowest release that devices install (0: any)."""
        return read_min_release(self.present().targets.signed.unrecognized_fields)

    def keyid(self) -> str:
        """Return the id of the key that signs assignments and commands now."""
        return self.present().root.signed.roles["timestamp"].keyids[0]

    def sign(self, data: bytes) -> tuple[str, str]:
        """Sign bytes with that key; return its id and the signature in hex."""
        keyid = self.keyid()
        return keyid, self._signer.sign(keyid, data)

    def can_sign(self, role: str) -> bool:
        """Tell whether enough keys of a role are at hand, without using them."""
        return self._can_sign(self.present(), role)

    def _can_sign(self, present: MetadataSet, role: str) -> bool:
        found = present.holders(role)
        return sum(map(self._signer.can_sign, found.keyids)) >= found.threshold

    def _due(self, present: MetadataSet, now: datetime) -> set[str]:
        """Name the roles to sign now, of those whose keys are at hand.

        Root waits for a person: a new root is for ever.
        """
        due = {
            role
            for role, signed in (
                ("targets", present.targets.signed),
                (MODELS, present.models.signed),
            )
            if ends_within(signed, RENEW_BEFORE, now) and self._can_sign(present, role)
        }
        if ends_within(present.snapshot.signed, RENEW_BEFORE, now):
            due.add("snapshot")
        if is_stale(present.timestamp.signed, now):
            due.add("timestamp")
        return due

    def _replace_timestamp(self, present: MetadataSet, now: datetime) -> None:
        root, snapshot = present.root.signed, present.snapshot.signed
        version = above(present.timestamp.signed.version, self.seen().timestamp)
        timestamp = next_timestamp(version, now, snapshot, root)
        signed = self._sign("timestamp", timestamp, root)
        self._write(self._path(TIMESTAMP_FILE), signed.to_bytes())

    def _sign(self, role: str, signed: _T, delegator: Root | Targets) -> Metadata[_T]:
        found = delegator.get_delegated_role(role)
        return self._signer.sign_metadata(role, signed, found.keyids, found.threshold)

    def _sign_root(self, old: Root, new: Root) -> Metadata[Root]:
        """Sign a root as its predecessor and it itself ask for."""
        before, after = old.roles["root"], new.roles["root"]
        self._signer.require("root", before.keyids, before.threshold)
        keyids = list(dict.fromkeys([*after.keyids, *before.keyids]))
        return self._signer.sign_metadata("root", new, keyids, after.threshold)

    def _put(self, files: dict[str, Metadata[Any]]) -> None:
        for name, metadata in files.items():
            self._write(self._path(name), metadata.to_bytes())

    def _prune(self, present: MetadataSet) -> None:
        """Delete what the present set does not name; its older roots stay for ever."""
        keep = present.files()
        for path in self._folder.glob("*.json"):
            found = _ROOT_NAME.match(path.name)
            is_older_root = found and int(found[1]) < present.root.signed.version
            if path.name not in keep and not is_older_root:
                path.unlink(missing_ok=True)

    def _timestamp_state(self) -> tuple[int, int]:
        """Return what changes whenever the timestamp is replaced."""
        try:
            found = self._path(TIMESTAMP_FILE).stat()
        except OSError as error:
            raise _unreadable(self._path(TIMESTAMP_FILE), error) from error
        return found.st_ino, found.st_mtime_ns

    def _load(self) -> MetadataSet:
        state = self._timestamp_state()
        if self._cached is None or self._cached[0] != state:
            self._cached = (state, self._read_set())
        return self._cached[1]

    def _read_set(self) -> MetadataSet:
        timestamp = self._read(TIMESTAMP_FILE, Timestamp)
        version = timestamp.signed.snapshot_meta.version
        snapshot = self._read(f"{version}.snapshot.json", Snapshot)
        targets, models = (
            self._read(
                f"{snapshot.signed.meta[f'{role}.json'].version}.{role}.json", Targets
            )
            for role in ("targets", MODELS)
        )
        return MetadataSet(
            root=self._read(f"{present_root(timestamp.signed)}.root.json", Root),
            timestamp=timestamp,
            snapshot=snapshot,
            targets=targets,
            models=models,
        )

    def _read(self, name: str, kind: type[_T]) -> Metadata[_T]:
        try:
            found: Metadata[_T] = Metadata.from_file(str(self._path(name)))
        except (RepositoryError, OSError) as error:
            raise _unreadable(self._path(name), error) from error
        if not isinstance(found.signed, kind):
            raise HubError("HUB-TUF-002", f"{self._path(name)} is not {kind.type}")
        return found

    def _path(self, name: str) -> Path:
        return self._folder / name

    @contextmanager
    def _lock(self) -> Iterator[None]:
        lock = self._folder / ".lock"
        try:
            file = lock.open("w")
        except OSError as error:
            raise _unreadable(lock, error) from error
        with file:
            wait_for_flock(file, f"the metadata in {self._folder}")
            yield


def _unreadable(path: Path, error: Exception) -> HubError:
    return HubError(
        "HUB-TUF-002",
        f"metadata {path} cannot be read: {error}",
        cure="`hub init` creates it in a new home folder",
    )


def _target_file(ref: TargetRef) -> TargetFile:
    return TargetFile(ref.length, {"sha256": ref.sha256}, ref.path)
