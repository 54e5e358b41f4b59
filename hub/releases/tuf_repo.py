"""The TUF repository: signed metadata that says which releases are authentic.

Roles: root (its first version is the devices' trust anchor), targets (delegates
only), ``models`` (path-scoped, terminating), snapshot, timestamp. Snapshots are
consistent: every file but ``timestamp.json`` has its version in its name and is never
changed, so until the timestamp is replaced, last and in one step, the old set remains
valid and complete. "The present set" is what the timestamp names; versions count on
from there, whatever a crash left behind.

Called by :mod:`hub.releases.service`; a lock keeps processes apart.
"""

import fcntl
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import (
    SPECIFICATION_VERSION,
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Role,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from edge_agent.wire.control import TufBundle
from hub.errors import ConflictError, HubError
from hub.files import write_durably
from hub.releases.signer import AnySigned, Signer

MODELS = "models"
MODELS_PATHS = ["models/*/*/*"]

ROOT_LIFE = timedelta(days=730)
TARGETS_LIFE = timedelta(days=365)
MODELS_LIFE = timedelta(days=90)
SNAPSHOT_LIFE = timedelta(days=90)
TIMESTAMP_LIFE = timedelta(days=7)
REFRESH_AGE = timedelta(days=1)
RENEW_BEFORE = timedelta(days=30)

_T = TypeVar("_T", bound=Signed)
_SPEC = ".".join(SPECIFICATION_VERSION)
_ROOT_NAME = re.compile(r"^[0-9]+\.root\.json$")

Write = Callable[[Path, bytes], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetRef:
    """A file that devices may install: its path among the targets, and its digest."""

    path: str
    sha256: str
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Present:
    """The set that the timestamp names."""

    timestamp: Timestamp
    snapshot: Snapshot
    targets: Targets
    models: Targets


class TufRepo:
    """Reads and writes the metadata in one folder."""

    def __init__(
        self, folder: Path, signer: Signer, write: Write = write_durably
    ) -> None:
        """Work on ``folder``; ``write`` replaces a file durably."""
        self._folder = folder
        self._signer = signer
        self._write = write

    def create(self, now: datetime) -> bytes:
        """Write the first version of every role and return the trust anchor.

        Raises:
            ConflictError: There is a repository already (``HUB-TUF-001``).
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._path("timestamp.json").exists():
            raise ConflictError("HUB-TUF-001", f"{self._folder} holds metadata already")
        root = Root(
            version=1,
            spec_version=_SPEC,
            expires=_expires(now, ROOT_LIFE),
            roles={
                role: Role([], 1)
                for role in ("root", "targets", "snapshot", "timestamp")
            },
            consistent_snapshot=True,
        )
        for role in root.roles:
            root.add_key(self._signer.public_key(role), role)
        anchor = self._signer.sign_metadata("root", root)
        self._write(self._path("1.root.json"), anchor)
        self._put("targets", self._first_targets(now))
        self._put(MODELS, Targets(1, _SPEC, _expires(now, MODELS_LIFE)))
        self._put(
            "snapshot",
            Snapshot(
                1,
                _SPEC,
                _expires(now, SNAPSHOT_LIFE),
                meta={"targets.json": MetaFile(1), "models.json": MetaFile(1)},
            ),
        )
        self._put("timestamp", Timestamp(1, _SPEC, _expires(now, TIMESTAMP_LIFE)))
        return anchor

    def publish(self, targets: list[TargetRef], now: datetime) -> None:
        """Make exactly these files the authentic ones."""
        with self._lock():
            present = self._present()
            files = {ref.path: _target_file(ref) for ref in targets}
            self._replace(present, now, targets=None, models=files)

    def refresh(self, now: datetime) -> bool:
        """Sign again what grows old; tell whether anything was written."""
        if not self._is_due(self._present(), now):
            return False
        with self._lock():
            present = self._present()
            if not self._is_due(present, now):
                return False
            renew = present.models.expires - now < RENEW_BEFORE
            renew_targets = present.targets.expires - now < RENEW_BEFORE
            if not renew and not renew_targets and not _is_old(present.snapshot, now):
                self._put_timestamp(present, present.snapshot.version, now)
                return True
            self._replace(
                present,
                now,
                targets=present.targets if renew_targets else None,
                models=present.models.targets if renew else None,
            )
        return True

    def targets(self) -> dict[str, str]:
        """Return the authentic files: path to sha256."""
        found = self._present().models.targets
        return {path: file.hashes["sha256"] for path, file in found.items()}

    def bundle(self) -> TufBundle:
        """Return the present set under the names that a TUF client asks for."""
        with self._lock():
            names = [
                *self._present_names(),
                *(p.name for p in self._folder.iterdir() if _ROOT_NAME.match(p.name)),
            ]
            files = {name: self._path(name).read_text("utf-8") for name in names}
        return TufBundle(files=files)

    def version(self) -> int:
        """Return the timestamp's version: it rises with every change."""
        return self._read("timestamp.json", Timestamp).version

    def _first_targets(self, now: datetime) -> Targets:
        key = self._signer.public_key(MODELS)
        role = DelegatedRole(
            MODELS, [key.keyid], 1, terminating=True, paths=MODELS_PATHS
        )
        return Targets(
            1,
            _SPEC,
            _expires(now, TARGETS_LIFE),
            delegations=Delegations({key.keyid: key}, {MODELS: role}),
        )

    def _replace(
        self,
        present: _Present,
        now: datetime,
        *,
        targets: Targets | None,
        models: Mapping[str, TargetFile] | None,
    ) -> None:
        """Write a new set: roles, then the snapshot, then the timestamp."""
        meta = dict(present.snapshot.meta)
        if targets is not None:
            version = targets.version + 1
            self._put(
                "targets",
                Targets(
                    version,
                    _SPEC,
                    _expires(now, TARGETS_LIFE),
                    delegations=targets.delegations,
                ),
            )
            meta["targets.json"] = MetaFile(version)
        if models is not None:
            version = present.models.version + 1
            expires = _expires(now, MODELS_LIFE)
            self._put(MODELS, Targets(version, _SPEC, expires, targets=dict(models)))
            meta["models.json"] = MetaFile(version)
        version = present.snapshot.version + 1
        expires = _expires(now, SNAPSHOT_LIFE)
        self._put("snapshot", Snapshot(version, _SPEC, expires, meta=meta))
        self._put_timestamp(present, version, now)
        self._prune()

    def _put_timestamp(self, present: _Present, snapshot: int, now: datetime) -> None:
        self._put(
            "timestamp",
            Timestamp(
                present.timestamp.version + 1,
                _SPEC,
                _expires(now, TIMESTAMP_LIFE),
                snapshot_meta=MetaFile(snapshot),
            ),
        )

    def _put(self, role: str, signed: AnySigned) -> None:
        name = (
            f"{role}.json" if role == "timestamp" else f"{signed.version}.{role}.json"
        )
        self._write(self._path(name), self._signer.sign_metadata(role, signed))

    def _prune(self) -> None:
        """Delete what no present set names; roots stay for ever."""
        keep = set(self._present_names())
        for path in self._folder.glob("*.json"):
            if path.name not in keep and not _ROOT_NAME.match(path.name):
                path.unlink(missing_ok=True)

    def _present_names(self) -> list[str]:
        """Return the file names of the present set without roots."""
        present = self._present()
        return [
            "timestamp.json",
            f"{present.snapshot.version}.snapshot.json",
            f"{present.targets.version}.targets.json",
            f"{present.models.version}.models.json",
        ]

    @staticmethod
    def _is_due(present: _Present, now: datetime) -> bool:
        age = TIMESTAMP_LIFE - (present.timestamp.expires - now)
        return age > REFRESH_AGE or any(
            _is_old(signed, now)
            for signed in (present.snapshot, present.targets, present.models)
        )

    def _present(self) -> _Present:
        timestamp = self._read("timestamp.json", Timestamp)
        version = timestamp.snapshot_meta.version
        snapshot = self._read(f"{version}.snapshot.json", Snapshot)
        targets, models = (
            self._read(f"{snapshot.meta[f'{role}.json'].version}.{role}.json", Targets)
            for role in ("targets", MODELS)
        )
        return _Present(
            timestamp=timestamp, snapshot=snapshot, targets=targets, models=models
        )

    def _read(self, name: str, kind: type[_T]) -> _T:
        try:
            signed = Metadata.from_file(str(self._path(name))).signed
        except (RepositoryError, OSError) as error:
            raise HubError(
                "HUB-TUF-002",
                f"metadata {self._path(name)} cannot be read: {error}",
                cure="`hub init` creates it in a new home folder",
            ) from error
        if not isinstance(signed, kind):
            raise HubError("HUB-TUF-002", f"{self._path(name)} is not {kind.type}")
        return signed

    def _path(self, name: str) -> Path:
        return self._folder / name

    @contextmanager
    def _lock(self) -> Iterator[None]:
        with (self._folder / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _expires(now: datetime, life: timedelta) -> datetime:
    return (now + life).replace(microsecond=0, tzinfo=UTC)


def _is_old(signed: Signed, now: datetime) -> bool:
    return signed.expires - now < RENEW_BEFORE


def _target_file(ref: TargetRef) -> TargetFile:
    return TargetFile(ref.length, {"sha256": ref.sha256}, ref.path)
