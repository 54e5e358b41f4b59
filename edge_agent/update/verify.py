"""What must be true of an assignment and of a release before it is tried.

Both must agree: the hub's signature says what *this device* shall run, TUF says what
is *authentic*. Neither alone can make a device run anything.
"""

from typing import TypeVar

import msgspec

from edge_agent.errors import StoreError, UpdateError
from edge_agent.store.artifacts import ArtifactStore
from edge_agent.update.codes import DAMAGED_MESSAGE, WRONG_MANIFEST
from edge_agent.update.metadata import Trust
from edge_agent.wire.codec import decode
from edge_agent.wire.control import Assignment, Command
from edge_agent.wire.envelope import Envelope, Purpose, Verify, is_authentic
from edge_agent.wire.errors import WireError
from edge_agent.wire.manifest import (
    BUNDLE_FORMAT,
    Release,
    file_target,
    release_target,
)

_T = TypeVar("_T", bound=msgspec.Struct)


def open_assignment(envelope: Envelope, device: str, verify: Verify) -> Assignment:
    """Return the assignment in an envelope.

    Raises:
        UpdateError: It is not authentic, not for this device, or not valid.
    """
    assignment = _open(envelope, Purpose.ASSIGNMENT, Assignment, verify)
    _check_device(assignment.device, device)
    return assignment


def check_floor(assignment: Assignment, trust: Trust) -> None:
    """Check that a release is not below the lowest that the offline key allows.

    Raises:
        UpdateError: It is (AGENT-UPDATE-034).
    """
    if assignment.release < trust.min_release:
        raise UpdateError(
            "AGENT-UPDATE-034",
            f"release {assignment.release} is below {trust.min_release}, the lowest"
            " that may be installed",
            cure="assign a newer release",
        )


def check_identity(assignment: Assignment, trust: Trust, store: ArtifactStore) -> None:
    """Check that a release which is installed is the one that is assigned.

    A number names a release within one history only: a hub that was restored may give
    it again. The digest of the manifest decides, where metadata has it.

    Raises:
        UpdateError: It is another one of the same number (AGENT-UPDATE-035).
    """
    kept = store.release_digest(assignment.release)
    if not kept:
        return
    try:
        signed = trust.find(assignment.target).sha256
    except UpdateError:
        return  # what it cannot verify it does not compare either
    if signed != kept:
        raise UpdateError(
            "AGENT-UPDATE-035",
            f"release {assignment.release} of this hub is not the release"
            f" {assignment.release} that is installed here: their digests differ",
            cure="the hub was restored: publish the model under a new number",
        )


def open_command(envelope: Envelope, device: str, verify: Verify) -> Command:
    """Return the command in an envelope.

    Raises:
        UpdateError: It is not authentic, not for this device, or not valid.
    """
    command = _open(envelope, Purpose.COMMAND, Command, verify)
    _check_device(command.device, device)
    return command


def read_manifest(data: bytes, assignment: Assignment) -> Release:
    """Decode verified manifest bytes and check that they are what was assigned.

    Raises:
        UpdateError: It is another release's manifest, or of a newer form.
    """
    try:
        release = decode(data, Release)
    except WireError as error:
        raise UpdateError(WRONG_MANIFEST, f"release manifest: {error}") from error
    target = release_target(release.bundle.name, release.release)
    if release.release != assignment.release or target != assignment.target:
        raise UpdateError(
            WRONG_MANIFEST,
            f"{assignment.target} is the manifest of release {release.release}, but"
            f" release {assignment.release} was assigned",
        )
    if release.bundle.format != BUNDLE_FORMAT:
        raise UpdateError(
            "AGENT-UPDATE-017",
            f"bundle format {release.bundle.format} needs a newer agent",
        )
    return release


def check_targets(release: Release, trust: Trust) -> None:
    """Check that TUF vouches for each file of a release that the device loads.

    Raises:
        UpdateError: A file is not a target, or not the one of the manifest.
    """
    for file in release.bundle.device_files:
        target = file_target(release.bundle.name, release.release, file)
        signed = trust.find(target)
        if (signed.sha256, signed.bytes) != (file.sha256, file.bytes):
            raise UpdateError(
                "AGENT-UPDATE-018", f"{target} differs between manifest and targets"
            )


def check_files(release: Release, store: ArtifactStore) -> None:
    """Read and hash every file of a release; damaged ones are dropped.

    Raises:
        UpdateError: A file is damaged or missing (AGENT-UPDATE-019).
    """
    for file in release.bundle.device_files:
        try:
            store.read(file)
        except StoreError as error:
            store.drop(file)
            raise UpdateError("AGENT-UPDATE-019", error.text) from error


def _open(envelope: Envelope, purpose: Purpose, kind: type[_T], verify: Verify) -> _T:
    if not is_authentic(purpose, envelope, verify):
        raise UpdateError(
            "AGENT-UPDATE-030",
            f"a message for {purpose} is not signed by a key that may",
        )
    try:
        return decode(envelope.payload.encode(), kind)
    except WireError as error:
        raise UpdateError(DAMAGED_MESSAGE, str(error)) from error


def _check_device(named: str, device: str) -> None:
    if named != device:
        raise UpdateError(
            "AGENT-UPDATE-032", f"a message for device {named!r} came to {device!r}"
        )
