"""Is this folder a bundle that may become a release? Every refusal says why.

Nothing in a bundle is trusted: names, digests, lengths, shapes and numbers are
checked, arrays are read without pickle, and the model is loaded by the device's own
interpreter in a limited process, never in this one. Called by
:mod:`hub.releases.service` on its private copy, so nothing changes after the check.
"""

import json
import math
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_agent.base.children import run_child
from edge_agent.base.regular import copy_regular, open_regular, read_regular
from edge_agent.sketch.golden import read_golden
from edge_agent.wire import codec
from edge_agent.wire.errors import WireError
from edge_agent.wire.manifest import (
    BUNDLE_FILE,
    BUNDLE_FORMAT,
    MAX_ARTIFACT_BYTES,
    Bundle,
    FileRef,
)
from edge_agent.wire.profile import PROFILE_FORMAT, Channel, ReferenceProfile, Source
from hub.errors import RefusedError
from hub.files import sha256_of

PROBE_MODULE = "edge_agent.runtime.probe"
PROBE_TIMEOUT_S = 90.0
_TEXT_KINDS = "US"
_OF_INPUTS = {
    Source.INPUT_MEAN,
    Source.INPUT_STD,
    Source.INPUT_LEVEL,
    Source.INPUT_SPREAD,
}
_OF_OUTPUTS = {Source.OUTPUT, Source.OUTPUT_LEVEL, Source.OUTPUT_SPREAD}


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """A bundle that passed, and what its calibration needs.

    Shapes: ``values`` is ``(n, channels)`` float64, ``groups`` ``(n,)`` text.
    """

    bundle: Bundle
    bundle_sha256: str
    reference: ReferenceProfile
    values: NDArray[np.float64]
    groups: NDArray[np.str_]


def check_bundle(folder: Path, *, override_gate: str = "") -> Intake:
    """Check a bundle folder.

    ``override_gate`` is the reason for taking in what the gate refused.

    Raises:
        RefusedError: ``HUB-RELEASE-001`` to ``-008``; it names file and reason.
    """
    bundle = read_bundle(folder)
    _check_gate(bundle, override_gate)
    _check_files(folder, bundle)
    reference = _read_reference(folder, bundle)
    _check_golden(folder, bundle)
    values, groups = _read_calibration(folder, bundle, len(reference.channels))
    _probe_model(folder, bundle)
    return Intake(
        bundle=bundle,
        bundle_sha256=sha256_of(folder / BUNDLE_FILE),
        reference=reference,
        values=values,
        groups=groups,
    )


def read_bundle(folder: Path) -> Bundle:
    """Read ``bundle.json``.

    Raises:
        RefusedError: It is missing or not valid (``HUB-RELEASE-001``).
    """
    path = folder / BUNDLE_FILE
    try:
        bundle = codec.decode(read_regular(path, codec.MAX_DOCUMENT_BYTES), Bundle)
    except (OSError, WireError) as error:
        raise _refuse(1, f"{path}: {error}") from error
    if bundle.format != BUNDLE_FORMAT:
        raise _refuse(
            1, f"{path} has format {bundle.format}, this hub reads {BUNDLE_FORMAT}"
        )
    names = [ref.name for ref in bundle.files]
    if len({*names, BUNDLE_FILE, "release.json"}) != len(names) + 2:
        raise _refuse(1, f"{path} uses a file name twice or a reserved one: {names}")
    return bundle


def copy_bundle_file(source: Path, target: Path) -> None:
    """Copy a file that ``bundle.json`` names, if it is one.

    Raises:
        RefusedError: It is missing or no regular file (``HUB-RELEASE-002``), or too
            large (``HUB-RELEASE-003``).
        OSError: The copy cannot be written.
    """
    try:
        open_regular(source, MAX_ARTIFACT_BYTES).close()
    except OSError as error:
        large = source.is_file() and not source.is_symlink()
        missing = f"{source.name} is missing from the bundle {source.parent}"
        raise _refuse(
            3 if large else 2, missing if not os.path.lexists(source) else str(error)
        ) from error
    copy_regular(source, target, MAX_ARTIFACT_BYTES)


def _check_files(folder: Path, bundle: Bundle) -> None:
    for ref in bundle.files:
        path = folder / ref.name
        if path.is_symlink() or not path.is_file():
            raise _refuse(2, f"{ref.name} is missing from the bundle {folder}")
        size = path.stat().st_size
        if size != ref.bytes:
            raise _refuse(3, f"{ref.name} has {size} bytes, bundle.json {ref.bytes}")
        digest = sha256_of(path)
        if digest != ref.sha256:
            raise _refuse(
                3, f"{ref.name} has sha256 {digest}, bundle.json says {ref.sha256}"
            )


def _read_reference(folder: Path, bundle: Bundle) -> ReferenceProfile:
    name = bundle.reference.name
    try:
        reference = codec.decode((folder / name).read_bytes(), ReferenceProfile)
    except WireError as error:
        raise _refuse(4, f"{name}: {error}") from error
    data, channels = reference.data, reference.channels
    if reference.format != PROFILE_FORMAT or reference.model != bundle.name:
        raise _refuse(
            4,
            f"{name} is of model {reference.model!r} in format {reference.format}, "
            f"the bundle of {bundle.name!r}",
        )
    if channels and not data.rows:
        raise _refuse(4, f"{name} has channels but no rows")
    if len(data.counts) != len(channels):
        raise _refuse(
            4, f"{name} has counts for {len(data.counts)} of {len(channels)} channels"
        )
    for channel, counts in zip(channels, data.counts, strict=True):
        fault = _channel_fault(channel, bundle)
        if not fault and len(counts) != channel.bins:
            fault = f"{len(counts)} counts for {channel.bins} bins"
        if not fault and not 0 < sum(counts) <= data.rows:
            fault = f"counts sum to {sum(counts)} of {data.rows} rows"
        if fault:
            raise _refuse(4, f"{name}, channel {channel.name!r}: {fault}")
    return reference


def _channel_fault(channel: Channel, bundle: Bundle) -> str:
    """Return what is wrong with a channel, or nothing."""
    if channel.source in {Source.CLASS, Source.CONFIDENCE} and not bundle.labels:
        return "the model tells no classes"
    if channel.source is Source.CLASS:
        same = channel.categories == bundle.labels
        return "" if same else "its categories are not the bundle's labels"
    edges = channel.edges
    if not edges or not np.isfinite(edges).all() or (np.diff(edges) <= 0).any():
        return "its bin edges do not rise"
    if channel.source in _OF_INPUTS:
        return _tensor_fault(channel, "input", _inputs(bundle))
    if channel.source in _OF_OUTPUTS:
        outputs = {output.name: output.shape for output in bundle.outputs}
        return _tensor_fault(channel, "output", outputs)
    return ""


def _inputs(bundle: Bundle) -> dict[str, list[int]]:
    shapes = {one.tensor.name: one.tensor.shape for one in bundle.inputs}
    return {**shapes, "": bundle.input.tensor.shape}


def _tensor_fault(channel: Channel, what: str, shapes: dict[str, list[int]]) -> str:
    if channel.tensor not in shapes:
        return f"the model has no {what} {channel.tensor!r}"
    shape = shapes[channel.tensor]
    if channel.source in {Source.INPUT_MEAN, Source.INPUT_STD}:
        inside = channel.index < (shape[-1] if shape else 1)
        return "" if inside else f"the input has no axis {channel.index}"
    if channel.source is Source.OUTPUT and channel.index >= math.prod(shape):
        return f"output {channel.tensor!r} has no element {channel.index}"
    return ""


def _check_golden(folder: Path, bundle: Bundle) -> None:
    name = bundle.golden.name
    try:
        read_golden((folder / name).read_bytes(), bundle)
    except (OSError, ValueError) as error:
        raise _refuse(5, f"{name}: {error}") from error


def _read_calibration(
    folder: Path, bundle: Bundle, channels: int
) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
    name = bundle.calibration.name
    arrays = _read_arrays(folder, bundle.calibration, {"values", "group"}, 6)
    values, groups = arrays["values"], arrays["group"]
    if values.ndim != 2 or values.shape[1] != channels:  # noqa: PLR2004 - a matrix
        raise _refuse(
            6, f"{name}: values have shape {values.shape}, not (n, {channels})"
        )
    if groups.shape != (len(values),) or groups.dtype.kind not in _TEXT_KINDS:
        raise _refuse(6, f"{name}: group must be {len(values)} texts")
    if values.dtype.kind != "f" or not np.isfinite(values).all():
        raise _refuse(6, f"{name}: values must be finite floats")
    return values.astype(np.float64), groups.astype(np.str_)


def _read_arrays(
    folder: Path, ref: FileRef, names: set[str], number: int
) -> dict[str, NDArray[np.generic]]:
    """Read named arrays of an npz, never a pickle and never more than an artifact."""
    path = folder / ref.name
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(i.file_size for i in archive.infolist()) > MAX_ARTIFACT_BYTES:
                raise _refuse(number, f"{ref.name} inflates too far")
        with np.load(path, allow_pickle=False) as arrays:
            missing = names - set(arrays.files)
            if missing:
                raise _refuse(number, f"{ref.name} has no array {min(missing)!r}")
            return {name: arrays[name] for name in names}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise _refuse(number, f"{ref.name} cannot be read: {error}") from error


def _probe_model(folder: Path, bundle: Bundle) -> None:
    """Let the device's interpreter load the model and answer its golden inputs."""
    try:
        done = run_child(
            [sys.executable, "-m", PROBE_MODULE, str(folder)], PROBE_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise _refuse(
            7, f"{bundle.model.name} did not load within {PROBE_TIMEOUT_S:.0f} s"
        ) from error
    try:
        answer = json.loads(done.stdout.strip().rpartition("\n")[2])
        accepted, text = bool(answer["ok"]), f"{answer['code']}: {answer['text']}"
    except (ValueError, KeyError, TypeError):
        last = done.stderr.strip().rpartition("\n")[2]
        accepted, text = False, f"its process ended with {done.returncode}: {last}"
    if not accepted or done.returncode:
        raise _refuse(7, f"{bundle.model.name} does not work: {text}")


def _check_gate(bundle: Bundle, override_gate: str) -> None:
    if bundle.gate.ok or override_gate:
        return
    failed = [
        f"{check.name} {check.observed:.3g} (limit {check.limit:.3g})"
        for check in bundle.gate.checks
        if not check.ok
    ]
    raise RefusedError(
        "HUB-RELEASE-008",
        f"the trainer's gate refused this bundle: {', '.join(failed) or 'no reason'}",
        cure="train a better one; --override-gate REASON takes it in nevertheless",
    )


def _refuse(number: int, text: str) -> RefusedError:
    return RefusedError(f"HUB-RELEASE-{number:03d}", text)
