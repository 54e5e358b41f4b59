"""A folder that brings releases to devices which no network reaches.

``hub releases download`` writes it, ``edge-agent update apply --from`` reads it::

    tuf/NAME.json            the present TUF metadata, by the names clients ask for
    artifacts/SHA256         every signed file of the releases, deltas included
    assignments/DEVICE.json  the signed assignment of each device that was named

Invariants: the folder appears in one rename, when all of it is on the disk. An
assignment is the one that the database has, with its ``seq``: it is published over
MQTT too, and whatever the hub assigns later is above it. Devices trust nothing here
more than what comes over the network.
"""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import Connection

from edge_agent.wire.control import TufBundle
from edge_agent.wire.topics import is_device_id
from hub.errors import ConflictError, HubError, NotFoundError, RefusedError
from hub.files import PUBLIC, sync_file, sync_folder, write_durably
from hub.releases.floor import refuse_below
from hub.storage import devices as device_store
from hub.storage import releases as release_store
from hub.storage.db import transaction
from hub.storage.devices import AssignmentRow

if TYPE_CHECKING:
    from hub.service import Services

TUF, ARTIFACTS, ASSIGNMENTS = "tuf", "artifacts", "assignments"
BY_HAND = "by-hand"
"""The rollout that an assignment made here names; there is none of that name."""
NEVER = 0.0
_CHUNK_BYTES = 1 << 20
_PUBLIC_FOLDER = 0o755


class Carried(msgspec.Struct, frozen=True, kw_only=True):
    """What a folder holds. ``seqs`` are the assignments' numbers by device."""

    folder: str
    releases: list[int]
    seqs: dict[str, int]
    artifacts: int
    bytes: int
    valid_until: float
    """When its metadata expires (Unix time): devices refuse it afterwards."""


def write_folder(
    services: "Services", to: Path, *, release: int | None, devices: Sequence[str]
) -> Carried:
    """Write the folder.

    Args:
        services: The hub.
        to: A folder that does not exist, or is empty.
        release: What to bring, and what to assign to the devices where they have
            another. ``None``: what the devices are assigned already; without devices,
            the newest published release.
        devices: Whose assignments go with it.

    Raises:
        ConflictError: The folder is not empty (``HUB-CARRY-001``).
        RefusedError: The release is not published (``HUB-CARRY-002``) or below the
            floor (``HUB-FLOOR-002``), or an id is none (``HUB-CARRY-005``).
        NotFoundError: There is no such release, none at all (``HUB-CARRY-007``), or a
            device is assigned nothing (``HUB-CARRY-003``).
        HubError: The folder cannot be written (``HUB-CARRY-004``), or an artifact is
            damaged (``HUB-CARRY-006``).
    """
    _refuse_used(to)
    rows = _assignments(services, release, devices)
    numbers = {row.release for row in rows}
    if release is not None or not rows:
        numbers.add(_published(services, release))
    services.releases.refresh()
    rows = _under_present_key(services, rows)
    files = _signed_files(services, sorted(numbers))
    bundle = services.releases.tuf_bundle()
    try:
        size = _write(services.home.artifacts, to, files, bundle, rows)
    except OSError as error:
        raise HubError(
            "HUB-CARRY-004",
            f"cannot write {to}: {error.strerror or error}",
            cure="name a folder where you may write and that has room",
        ) from error
    return Carried(
        folder=str(to),
        releases=sorted(numbers),
        seqs={row.device: row.seq for row in rows},
        artifacts=len(files),
        bytes=size,
        valid_until=_valid_until(bundle),
    )


def _refuse_used(to: Path) -> None:
    with suppress(FileNotFoundError, NotADirectoryError):
        if not any(to.iterdir()):
            return
    if to.exists():
        raise ConflictError(
            "HUB-CARRY-001", f"{to} is not empty", cure="name a new folder"
        )


def _assignments(
    services: "Services", release: int | None, devices: Sequence[str]
) -> list[AssignmentRow]:
    """Return the devices' assignments; those of another release are made anew."""
    if release is not None:
        _published(services, release)
    with transaction(services.engine) as conn:
        return [
            _assignment(conn, services, release, device)
            for device in dict.fromkeys(devices)
        ]


def _assignment(
    conn: Connection, services: "Services", release: int | None, device: str
) -> AssignmentRow:
    row = device_store.get_assignment(conn, device)
    if row is not None and row.release and release in {None, row.release}:
        return row
    if release is None:
        raise NotFoundError(
            "HUB-CARRY-003",
            f"{device} is assigned nothing",
            cure=f"name the release: hub releases download RELEASE --device {device}",
        )
    if not is_device_id(device):
        raise RefusedError(
            "HUB-CARRY-005",
            f"{device!r} cannot be the id of a device",
            cure="use 1 to 64 letters, digits, _ and -",
        )
    if device_store.get_device(conn, device) is None:
        # Nobody ever heard of the device for which this is made.
        device_store.touch(conn, device, NEVER)
    services.devices.assign_in(conn, device, release, BY_HAND)
    row = device_store.get_assignment(conn, device)
    if row is None:
        raise AssertionError("an assignment that was just stored")
    return row


def _under_present_key(
    services: "Services", rows: Sequence[AssignmentRow]
) -> list[AssignmentRow]:
    """Return the same assignments, signed by the key that the metadata names."""
    services.devices.resign_desired()
    with services.engine.connect() as conn:
        found = [device_store.get_assignment(conn, row.device) for row in rows]
    return [row for row in found if row is not None]


def _published(services: "Services", release: int | None) -> int:
    if release is None:
        rows = services.releases.list_releases()
        known = [row for row in rows if row.state == release_store.PUBLISHED]
        if not known:
            raise NotFoundError("HUB-CARRY-007", "no release is published yet")
        return known[-1].release
    if services.releases.get(release).state != release_store.PUBLISHED:
        raise RefusedError(
            "HUB-CARRY-002",
            f"release {release} is not published",
            cure=f"`hub releases publish {release}` signs it",
        )
    refuse_below(release, services.releases.min_release())
    return release


def _signed_files(services: "Services", numbers: Sequence[int]) -> dict[str, str]:
    """Return the authentic files of releases: sha256 to target path.

    A release that nothing used any more is no longer among them: it is signed again.
    """
    found: dict[str, str] = {}
    for number in numbers:
        prefix = f"models/{services.releases.get(number).name}/{number}/"
        if not any(p.startswith(prefix) for p in services.releases.authentic()):
            services.releases.publish(number)
        authentic = services.releases.authentic().items()
        found |= {sha256: path for path, sha256 in authentic if path.startswith(prefix)}
    return found


def _write(
    artifacts: Path,
    to: Path,
    files: Mapping[str, str],
    bundle: TufBundle,
    rows: Sequence[AssignmentRow],
) -> int:
    """Write everything beside ``to``, then give it its name; return the bytes."""
    part = to.with_name(to.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    for name in (TUF, ARTIFACTS, ASSIGNMENTS):
        (part / name).mkdir(parents=True)
    try:
        for name, text in bundle.files.items():
            write_durably(part / TUF / name, text.encode())
        size = sum(
            _copy(artifacts / sha256, part / ARTIFACTS / sha256, path)
            for sha256, path in files.items()
        )
        for row in rows:
            place = part / ASSIGNMENTS / f"{row.device}.json"
            write_durably(place, row.envelope.encode())
        _open_to_all(part)
        for folder in (part / ARTIFACTS, part):
            sync_folder(folder)
        part.rename(to)
        sync_folder(to.absolute().parent)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return size


def _open_to_all(part: Path) -> None:
    """Let any user of a device read what is public and signed."""
    part.chmod(_PUBLIC_FOLDER)
    for path in part.rglob("*"):
        path.chmod(_PUBLIC_FOLDER if path.is_dir() else PUBLIC)


def _copy(source: Path, target: Path, path: str) -> int:
    digest, size = hashlib.sha256(), 0
    with source.open("rb") as file, target.open("wb") as out:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += out.write(chunk)
    if digest.hexdigest() != source.name:
        raise HubError(
            "HUB-CARRY-006",
            f"artifact {source.name} ({path}) is damaged in the hub's home",
            cure="restore artifacts/ from a backup, or take the release in again",
        )
    sync_file(target)
    return size


def _valid_until(bundle: TufBundle) -> float:
    timestamp = msgspec.json.decode(bundle.files["timestamp.json"])
    return datetime.fromisoformat(timestamp["signed"]["expires"]).timestamp()
