"""What each TUF role says, as values: contents, versions, lifetimes. Pure.

Called by :mod:`hub.releases.tuf_repo`, which signs and writes them, and by
:mod:`hub.releases.ceremony`, which changes who may sign.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from securesystemslib.signer import Key
from tuf.api.metadata import (
    SPECIFICATION_VERSION,
    DelegatedRole,
    Delegations,
    MetaFile,
    Role,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from edge_agent.wire.trust import MIN_RELEASE, SIGNED_AT

MODELS = "models"
MODELS_PATHS = ["models/*/*/*"]
ROOT_KEYS, ROOT_THRESHOLD = 3, 2

LIFE = {
    "root": timedelta(days=730),
    "targets": timedelta(days=365),
    MODELS: timedelta(days=90),
    "snapshot": timedelta(days=90),
    "timestamp": timedelta(days=7),
}
REFRESH_AGE = timedelta(days=1)
RENEW_BEFORE = timedelta(days=30)
"""So long before its end a role is signed again, where its key is at hand."""
WARN_BEFORE = timedelta(days=60)
"""So long before its end a person is told to sign a role again."""

MAX_LEAP = 10_000
"""So far above its own a hub believes versions that devices report."""
MAX_ROOT_LEAP = 32
"""Of roots: a device follows at most 64 at a time."""

PRESENT_ROOT = "x-shoal-root"
"""In ``timestamp``: the version of the root that belongs to the set.

The specification has clients look for ever higher versions, so a root is out as soon as
its file is served. With this field the hub serves it together with what its keys sign.
"""

_SPEC = ".".join(SPECIFICATION_VERSION)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holders:
    """The public keys of a new repository."""

    root: Sequence[Key]
    targets: Key
    models: Key
    online: Key


def first_root(holders: Holders, now: datetime) -> Root:
    """Return the first root: two of three keys sign for it."""
    root = Root(1, _SPEC, _end(LIFE["root"], now), consistent_snapshot=True)
    root.roles["root"] = Role([], min(ROOT_THRESHOLD, len(holders.root)))
    for key in holders.root:
        root.add_key(key, "root")
    root.add_key(holders.targets, "targets")
    for role in ("snapshot", "timestamp"):
        root.add_key(holders.online, role)
    return root


def next_root(
    root: Root, now: datetime, keys: Mapping[str, Sequence[Key]] | None = None
) -> Root:
    """Return the next version of root, with these keys for these roles.

    ``root`` itself is always held by as many keys as :data:`ROOT_KEYS` says, however
    many held it before.
    """
    new = deepcopy(root)
    new.version += 1
    new.expires = _end(LIFE["root"], now)
    for role, holders in (keys or {}).items():
        for keyid in list(new.roles[role].keyids):
            new.revoke_key(keyid, role)
        for key in holders:
            new.add_key(key, role)
        if role == "root":
            new.roles[role].threshold = ROOT_THRESHOLD
    return new


def above(own: int, seen: int) -> int:
    """Return the next version: above the hub's own and what devices trust.

    What is further than :data:`MAX_LEAP` is no honest hub's.
    """
    return max(own, seen if seen <= own + MAX_LEAP else 0) + 1


def root_chain(root: Root, seen: int) -> list[Root]:
    """Return a new root and what follows it, up to a version above ``seen``.

    Devices follow roots one version at a time, so one that trusts a root of another
    history needs one above that, and all others every one in between.
    """
    last = seen + 1 if seen - root.version < MAX_ROOT_LEAP else root.version
    chain = [root]
    while chain[-1].version < last:
        following = deepcopy(chain[-1])
        following.version += 1
        chain.append(following)
    return chain


def first_targets(models: Key, now: datetime) -> Targets:
    """Return the first ``targets``: it delegates to ``models`` and has no targets."""
    delegation = _delegation(models)
    return Targets(1, _SPEC, _end(LIFE["targets"], now), delegations=delegation)


def next_targets(
    targets: Targets,
    now: datetime,
    *,
    models: Key | None = None,
    min_release: int | None = None,
) -> Targets:
    """Return the next version of ``targets``; what is not given stays."""
    fields = dict(targets.unrecognized_fields)
    if min_release is not None:
        fields[MIN_RELEASE] = min_release
    return Targets(
        targets.version + 1,
        _SPEC,
        _end(LIFE["targets"], now),
        delegations=_delegation(models) if models else targets.delegations,
        unrecognized_fields=fields,
    )


def next_models(
    version: int, now: datetime, files: Mapping[str, TargetFile] | None = None
) -> Targets:
    """Return ``models`` with these files: what devices may install."""
    return Targets(version, _SPEC, _end(LIFE[MODELS], now), targets=dict(files or {}))


def next_snapshot(
    version: int, now: datetime, targets: Targets, models: Targets
) -> Snapshot:
    """Return the snapshot of these two roles."""
    meta = {
        "targets.json": MetaFile(targets.version),
        "models.json": MetaFile(models.version),
    }
    return Snapshot(version, _SPEC, _end(LIFE["snapshot"], now), meta=meta)


def next_timestamp(
    version: int, now: datetime, snapshot: Snapshot, root: Root
) -> Timestamp:
    """Return the timestamp that makes a snapshot and a root the present ones."""
    fields = {SIGNED_AT: int(now.timestamp()), PRESENT_ROOT: root.version}
    return Timestamp(
        version,
        _SPEC,
        _end(LIFE["timestamp"], now),
        snapshot_meta=MetaFile(snapshot.version),
        unrecognized_fields=fields,
    )


def present_root(timestamp: Timestamp) -> int:
    """Return the version of the root that a timestamp belongs to.

    Timestamps of hubs that could not change their root do not say it.
    """
    version = timestamp.unrecognized_fields.get(PRESENT_ROOT, 1)
    return version if isinstance(version, int) and version >= 1 else 1


def ends_within(signed: Signed, life: timedelta, now: datetime) -> bool:
    """Tell whether metadata expires within a time."""
    return signed.expires - now < life


def is_stale(timestamp: Timestamp, now: datetime) -> bool:
    """Tell whether a timestamp is to be signed again, as it is every day."""
    return LIFE["timestamp"] - (timestamp.expires - now) > REFRESH_AGE


def _delegation(key: Key) -> Delegations:
    role = DelegatedRole(MODELS, [key.keyid], 1, terminating=True, paths=MODELS_PATHS)
    return Delegations({key.keyid: key}, {MODELS: role})


def _end(life: timedelta, now: datetime) -> datetime:
    return (now + life).replace(microsecond=0, tzinfo=UTC)
