"""Key ceremonies: making, replacing and renewing the keys of a home folder.

Invariants: the file of a new key is on disk before anything is signed that names it;
the key of a role changes for everybody in the one step that replaces the timestamp; a
replaced key's file in the hub's home is deleted after that, one elsewhere is for a
person to destroy. So whatever dies here, the present set remains valid and every key
that it names is there.

A root that replaces keys is signed by the old and the new holders, so devices follow it
from any earlier version. Called by the command line and :mod:`hub.home`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from securesystemslib.signer import Key

from edge_agent.base.clock import Clock
from hub.clock_trust import require_trusted
from hub.config import Home
from hub.errors import NotFoundError
from hub.files import write_durably
from hub.releases.key_status import KeyStatus, survey
from hub.releases.keys import (
    MODELS,
    OFFLINE_ROLES,
    ONLINE,
    ROOT,
    TARGETS,
    Passphrases,
)
from hub.releases.metadata_set import MetadataSet
from hub.releases.roles import (
    ROOT_KEYS,
    Holders,
    next_models,
    next_root,
    next_targets,
)
from hub.releases.seen import seen_in_home
from hub.releases.signer import Signer
from hub.releases.tuf_repo import TufRepo

_HELD_BY = {ROOT: "root", TARGETS: "targets", MODELS: "models", ONLINE: "timestamp"}
"""The TUF role that names a key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKeys:
    """How new keys are kept.

    ``folder`` is for those of root and targets (by default in the hub's home), which
    ``passphrase`` protects; ``protect_models`` treats the release key like them: the
    hub then publishes nothing by itself.
    """

    folder: Path | None = None
    passphrase: bytes | None = field(default=None, repr=False)
    protect_models: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """What a rotation did: new key files, and replaced ones that are still there."""

    role: str
    root: int
    made: list[Path]
    replaced: list[Path]


class Ceremony:
    """Works on the keys of one home folder.

    ``offline`` are the folders that hold keys of root and targets now, ``passphrases``
    opens protected key files.
    """

    def __init__(
        self,
        home: Home,
        clock: Clock,
        *,
        offline: Sequence[Path] = (),
        passphrases: Passphrases | None = None,
    ) -> None:
        """Prepare; nothing is read yet."""
        self._home = home
        self._clock = clock
        folders = [home.keys, *(offline or [home.offline_keys])]
        self.signer = Signer(folders, passphrases)
        self.tuf = TufRepo(home.tuf, self.signer)
        self.tuf.seen = seen_in_home(home, self.tuf)

    def create(self, new: NewKeys) -> None:
        """Make all keys and the first metadata, unless they are there already.

        Raises:
            HubError: A key cannot be written (``HUB-KEYS-003``).
        """
        if not self.tuf.exists:
            holders = Holders(
                root=[self._make(ROOT, new) for _ in range(ROOT_KEYS)],
                targets=self._make(TARGETS, new),
                models=self._make(MODELS, new),
                online=self._make(ONLINE, new),
            )
            self.tuf.create(holders, self._now())
        self._write_anchor()

    def rotate(self, role: str, new: NewKeys) -> Rotation:
        """Give a role a new key (root: three), and sign again what depends on it.

        Raises:
            DeniedError: A key that must sign is not at hand (``HUB-KEYS-005``), or
                cannot be opened (``HUB-KEYS-004``). Nothing is changed.
            ConflictError: The clock is not believed (``HUB-CLOCK-001``).
            HubError: A key cannot be read or written.
        """
        require_trusted(self._clock)
        with self.tuf.changing() as present:
            old = present.holders(_HELD_BY[role])
            self._require_signers(role, present)
            count = ROOT_KEYS if role == ROOT else 1
            keys = [self._make(role, new) for _ in range(count)]
            changed = self._hand_over(role, keys, present)
        self._write_anchor()
        return Rotation(
            role=role,
            root=changed.root.signed.version,
            made=self._files(key.keyid for key in keys),
            replaced=self._drop(old.keyids),
        )

    def refresh(self, roles: Sequence[str]) -> None:
        """Sign again now: these roles, and those whose keys the hub has.

        Raises:
            DeniedError: A key that must sign is not at hand, or cannot be opened.
            ConflictError: The clock is not believed (``HUB-CLOCK-001``).
        """
        require_trusted(self._clock)
        own = [MODELS] if self.tuf.can_sign(MODELS) else []
        self.tuf.refresh(self._now(), force=[*roles, *own, "snapshot"])
        self._write_anchor()

    def status(self) -> KeyStatus:
        """Return who signs what until when, where the keys are, and what is wrong.

        Raises:
            HubError: A key file cannot be read (``HUB-KEYS-002``).
        """
        present = self.tuf.present()
        roles, warnings = survey(self._home, present, self.signer.folders, self._now())
        return KeyStatus(
            roles=roles, min_release=self.tuf.min_release(), warnings=warnings
        )

    def set_floor(self, release: int) -> None:
        """Sign that devices install nothing below a release (0: anything).

        Raises:
            DeniedError: The targets key is not at hand, or cannot be opened.
            ConflictError: The clock is not believed (``HUB-CLOCK-001``).
        """
        require_trusted(self._clock)
        with self.tuf.changing() as present:
            targets = present.targets.signed
            new = next_targets(targets, self._now(), min_release=release)
            self.tuf.replace(present, self._now(), targets=new)

    def root(self, version: int | None = None) -> bytes:
        """Return the bytes of a version of root (the present one by default).

        Raises:
            NotFoundError: There was none of this version (``HUB-KEYS-006``).
        """
        newest = self.tuf.present().root.signed.version
        found = self.tuf.root(newest if version is None else version)
        if found is None:
            raise NotFoundError(
                "HUB-KEYS-006",
                f"there is no version {version} of root",
                cure=f"the newest is {newest}",
            )
        return found

    def _require_signers(self, role: str, present: MetadataSet) -> None:
        """Open the keys that must sign a change, before a new key is made."""
        signing = [TARGETS if role == MODELS else ROOT]
        signing += [] if role == ONLINE else [ONLINE]
        for signer in signing:
            found = present.holders(_HELD_BY[signer])
            self.signer.require(signer, found.keyids, found.threshold)

    def _hand_over(
        self, role: str, keys: Sequence[Key], present: MetadataSet
    ) -> MetadataSet:
        now = self._now()
        root, targets, models = None, None, None
        if role == MODELS:
            old = present.models.signed
            targets = next_targets(present.targets.signed, now, models=keys[0])
            models = next_models(old.version + 1, now, old.targets)
        else:
            named = ["snapshot", "timestamp"] if role == ONLINE else [_HELD_BY[role]]
            root = next_root(present.root.signed, now, dict.fromkeys(named, keys))
            if role == TARGETS:
                targets = next_targets(present.targets.signed, now)
        return self.tuf.replace(present, now, root=root, targets=targets, models=models)

    def _make(self, role: str, new: NewKeys) -> Key:
        """Make a key where those of its role lie; the hub's own have no passphrase."""
        if role in OFFLINE_ROLES or (role == MODELS and new.protect_models):
            folder = new.folder or self._home.offline_keys
            return self.signer.make(folder, role, new.passphrase)
        return self.signer.make(self._home.keys, role, None)

    def _files(self, keyids: Iterable[str]) -> list[Path]:
        found = map(self.signer.locate, keyids)
        return sorted(file.path for file in found if file is not None)

    def _drop(self, keyids: Iterable[str]) -> list[Path]:
        """Delete replaced keys from the hub's own folder; name those elsewhere."""
        elsewhere = []
        for path in self._files(keyids):
            if path.parent == self._home.keys:
                path.unlink(missing_ok=True)
            else:
                elsewhere.append(path)
        return elsewhere

    def _write_anchor(self) -> None:
        """Keep the file that new devices are given at the newest root."""
        newest = self.root()
        path = self._home.root_file
        if not path.exists() or path.read_bytes() != newest:
            write_durably(path, newest)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.wall(), UTC)
