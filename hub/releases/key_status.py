"""Where the keys are, how long what they signed lasts, and what is wrong with that.

Reads only: metadata, and the names and modes of key files; no private key is opened.
Called by ``hub keys status``.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from hub.config import Home
from hub.releases.keys import OFFLINE_ROLES, KeyFile, list_keys
from hub.releases.metadata_set import MetadataSet
from hub.releases.roles import (
    MODELS,
    REFRESH_AGE,
    ROOT_THRESHOLD,
    WARN_BEFORE,
    ends_within,
    is_stale,
)

_OTHERS = 0o077


class KeyPlace(msgspec.Struct, frozen=True, kw_only=True):
    """One key of a role; ``path`` is empty where its private half was not found."""

    keyid: str
    path: str
    protected: bool


class RoleStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A TUF role: how many of which keys sign it, and how long its metadata lasts."""

    role: str
    version: int
    threshold: int
    keys: list[KeyPlace]
    expires_at: float


class KeyWarning(msgspec.Struct, frozen=True, kw_only=True):
    """Something that should not stay as it is, and what to do about it."""

    text: str
    cure: str


class KeyStatus(msgspec.Struct, frozen=True, kw_only=True):
    """All roles, the lowest release that devices install, and warnings."""

    roles: list[RoleStatus]
    min_release: int
    warnings: list[KeyWarning]


def survey(
    home: Home, present: MetadataSet, folders: Sequence[Path], now: datetime
) -> tuple[list[RoleStatus], list[KeyWarning]]:
    """Return the state of every role, and warnings; keys are looked for in ``folders``.

    Raises:
        HubError: A key file cannot be read (``HUB-KEYS-002``).
    """
    files = [file for folder in folders for file in list_keys(folder)]
    roles = [
        RoleStatus(
            role=role,
            version=metadata.signed.version,
            threshold=present.holders(role).threshold,
            keys=[_place(keyid, files) for keyid in present.holders(role).keyids],
            expires_at=metadata.signed.expires.timestamp(),
        )
        for role, metadata in present.roles().items()
    ]
    warnings = [
        *_about_places(home, files),
        *_about_files(roles, files),
        *_about_holders(roles),
        *_about_time(present, roles, now),
    ]
    return roles, warnings


def _place(keyid: str, files: Sequence[KeyFile]) -> KeyPlace:
    for file in files:
        if keyid.startswith(file.keyid):
            return KeyPlace(
                keyid=keyid, path=str(file.path), protected=file.is_protected
            )
    return KeyPlace(keyid=keyid, path="", protected=False)


def _about_places(home: Home, files: Sequence[KeyFile]) -> Iterator[KeyWarning]:
    """Warn of offline keys that are where a thief of the hub would find them."""
    inside = [
        file
        for file in files
        if file.role in OFFLINE_ROLES
        and file.path.resolve().is_relative_to(home.path.resolve())
    ]
    if inside:
        yield KeyWarning(
            text=f"{len(inside)} keys of root and targets lie in the hub's home: who"
            " steals the hub can sign anything, for good",
            cure=f"move {inside[0].path.parent} to media that are not in this machine,"
            " the root keys to three places",
        )
    bare = [
        file for file in files if file.role in OFFLINE_ROLES and not file.is_protected
    ]
    if bare:
        names = ", ".join(file.path.name for file in bare)
        yield KeyWarning(
            text=f"no passphrase protects {names}",
            cure="hub keys rotate root, hub keys rotate targets",
        )


def _about_files(
    roles: Sequence[RoleStatus], files: Sequence[KeyFile]
) -> Iterator[KeyWarning]:
    used = {key.path for role in roles for key in role.keys}
    for file in files:
        if str(file.path) not in used:
            yield KeyWarning(
                text=f"{file.path} is no key of any role (any more)",
                cure="destroy it, unless metadata from a backup will be used again",
            )
        elif file.path.stat().st_mode & _OTHERS:
            yield KeyWarning(
                text=f"{file.path} can be read by others than its owner",
                cure=f"chmod 600 {file.path}",
            )


def _about_holders(roles: Sequence[RoleStatus]) -> Iterator[KeyWarning]:
    """Warn of a root that one thief is enough for, and of a hub that cannot sign."""
    for role in roles:
        if role.role == "root" and role.threshold < ROOT_THRESHOLD:
            yield KeyWarning(
                text="one key is enough to sign a new root",
                cure="hub keys rotate root  (two of three must sign from then on)",
            )
        if role.role == "timestamp" and not any(key.path for key in role.keys):
            yield KeyWarning(
                text="the online key is not here: the hub can assign and sign nothing",
                cure="bring it back, or: hub keys rotate online --offline-keys DIR",
            )


def _about_time(
    present: MetadataSet, roles: Sequence[RoleStatus], now: datetime
) -> Iterator[KeyWarning]:
    """Warn of what a person has to sign again, and of a hub that does not sign."""
    signed = present.roles()
    for status in roles:
        role = status.role
        days = (status.expires_at - now.timestamp()) / 86_400
        renews_itself = role in {MODELS, "snapshot"} and any(
            key.path and not key.protected for key in status.keys
        )
        if role == "timestamp":
            if is_stale(present.timestamp.signed, now - REFRESH_AGE):
                yield KeyWarning(
                    text="the timestamp was not signed for more than two days",
                    cure="hub serve does that every day: is it running?",
                )
        elif not renews_itself and ends_within(signed[role].signed, WARN_BEFORE, now):
            ends = f"expires in {days:.0f} days" if days > 0 else "has expired"
            flag = f" --{role}" if role in OFFLINE_ROLES else ""
            yield KeyWarning(
                text=f"{role} {ends}; then devices install nothing new",
                cure=f"hub keys refresh{flag} --offline-keys DIR",
            )
