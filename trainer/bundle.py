"""Bundle folders: written whole or not at all, read with every digest checked.

A folder that holds ``bundle.json`` is complete: it is written beside its place, synced
and renamed. Called by the job and by ``package``; the hub has its own reader.
"""

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from msgspec import UNSET

from edge_agent.base.regular import read_regular
from edge_agent.wire.codec import MAX_DOCUMENT_BYTES, decode, encode_pretty
from edge_agent.wire.errors import WireError
from edge_agent.wire.manifest import (
    BUNDLE_FILE,
    BUNDLE_FORMAT,
    MAX_ARTIFACT_BYTES,
    Bundle,
    FileRef,
)
from trainer.errors import DataError

MODEL = "model.tflite"
REFERENCE = "reference.json"
GOLDEN = "golden.npz"
CALIBRATION = "calibration.npz"
CARD = "card.md"
WEIGHTS = "weights.npz"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenBundle:
    """A bundle whose files were all found to be what it says."""

    bundle: Bundle
    files: dict[str, bytes]

    @property
    def model(self) -> bytes:
        """The bytes of the model."""
        return self.files[self.bundle.model.name]

    @property
    def weights(self) -> bytes | None:
        """The net's weights before conversion, if the bundle has them."""
        ref = self.bundle.weights
        return None if ref is UNSET else self.files[ref.name]


def file_ref(name: str, data: bytes) -> FileRef:
    """Return the reference to a file of these bytes."""
    digest = hashlib.sha256(data).hexdigest()
    return FileRef(name=name, sha256=digest, bytes=len(data))


def refuse_existing(out: Path) -> None:
    """Refuse a place where something is already.

    Raises:
        DataError: ``out`` is a file or a folder that is not empty
            (``TRAINER-BUNDLE-001``).
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(
            "TRAINER-BUNDLE-001",
            f"{out} exists already",
            cure="name a new folder, or remove this one",
        )


def write_bundle(out: Path, bundle: Bundle, files: Mapping[str, bytes]) -> None:
    """Write a bundle folder at ``out``, atomically and durably.

    Raises:
        DataError: ``out`` is taken, or cannot be written (``TRAINER-BUNDLE-002``), or
            nobody could read the manifest (``-006``).
    """
    refuse_existing(out)
    manifest = encode_pretty(bundle)
    try:
        decode(manifest, Bundle)
    except WireError as error:
        raise DataError(
            "TRAINER-BUNDLE-006", f"no hub would take in this bundle: {error}"
        ) from error
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        temporary.mkdir(parents=True)
        for ref in bundle.files:
            _write_synced(temporary / ref.name, files[ref.name])
        _write_synced(temporary / BUNDLE_FILE, manifest)
        _sync_folder(temporary)
        temporary.rename(out)
        _sync_folder(out.parent)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise DataError(
            "TRAINER-BUNDLE-002", f"cannot write the bundle {out}: {error}"
        ) from error


def read_bundle(folder: Path) -> OpenBundle:
    """Read a bundle and check every file's length and digest.

    Raises:
        DataError: It is no complete bundle (``TRAINER-BUNDLE-003``), is of a newer
            format (``-004``), or a file is missing or altered (``-005``).
    """
    try:
        bundle = decode(read_regular(folder / BUNDLE_FILE, MAX_DOCUMENT_BYTES), Bundle)
    except (OSError, WireError) as error:
        raise DataError(
            "TRAINER-BUNDLE-003", f"{folder} is not a complete bundle: {error}"
        ) from error
    if bundle.format > BUNDLE_FORMAT:
        raise DataError(
            "TRAINER-BUNDLE-004",
            f"{folder} has format {bundle.format}, this trainer reads {BUNDLE_FORMAT}",
            cure="use a newer version of Shoal",
        )
    return OpenBundle(
        bundle=bundle,
        files={ref.name: _read_checked(folder, ref) for ref in bundle.files},
    )


def _read_checked(folder: Path, ref: FileRef) -> bytes:
    try:
        data = read_regular(folder / ref.name, MAX_ARTIFACT_BYTES)
    except OSError as error:
        raise DataError(
            "TRAINER-BUNDLE-005", f"{folder}: {ref.name} cannot be read: {error}"
        ) from error
    if file_ref(ref.name, data) != ref:
        raise DataError(
            "TRAINER-BUNDLE-005",
            f"{folder}: {ref.name} is not the file that bundle.json names",
            cure="copy the bundle again, or make it anew; never edit one",
        )
    return data


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
