"""Writes a job's folder: ``job.json``, and ``samples.npz`` from what devices sent.

Each file is complete or absent (written beside, then renamed); ``job.json`` comes
last, so a folder that has it has everything.
"""

import math
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_agent.wire import codec
from edge_agent.wire.errors import WireError
from edge_agent.wire.job import JOB_FILE, Job
from edge_agent.wire.records import SampleRecord
from hub.errors import HubError
from hub.storage.records import StoredSample

DEVICES_FILE = "devices.json"
SAMPLES_FILE = "samples.npz"
BUNDLE_FOLDER = "bundle"
REFUSED_FOLDER = "bundle-refused"


def write_job(folder: Path, job: Job) -> Path:
    """Write ``job.json`` and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / JOB_FILE
    _write(path, codec.encode_pretty(job))
    return path


def give_other_seed(folder: Path) -> int | None:
    """Give a job whose bundle the gate refused another seed; return it.

    The refused bundle is set aside. A job is given another seed once: ``None`` then.
    The seed is written first: who dies in between judges the same bundle again.

    Raises:
        HubError: The folder cannot be read or written.
    """
    refused = folder / REFUSED_FOLDER
    if refused.exists():
        return None
    try:
        job = codec.decode((folder / JOB_FILE).read_bytes(), Job)
        write_job(folder, msgspec.structs.replace(job, seed=job.seed + 1))
        (folder / BUNDLE_FOLDER).rename(refused)
    except (OSError, WireError) as error:
        raise HubError(
            "HUB-RETRAIN-004", f"{folder} cannot be prepared to train again: {error}"
        ) from error
    return job.seed + 1


def write_devices(folder: Path, devices: Sequence[str]) -> None:
    """Note which devices were asked for samples."""
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / DEVICES_FILE, msgspec.json.encode(devices))


def read_devices(folder: Path) -> list[str]:
    """Return which devices were asked for samples."""
    try:
        data = (folder / DEVICES_FILE).read_bytes()
    except FileNotFoundError:
        return []
    return msgspec.json.decode(data, type=list[str])


def write_samples(folder: Path, samples: Iterable[StoredSample]) -> int:
    """Write ``samples.npz``: ``x`` float32 (n, ...), ``label`` and ``group`` text (n,).

    ``group`` is the device. Samples of the most common shape are kept; others, and
    such whose bytes do not fit their shape, are left out, as is a sample that came
    twice.

    Returns:
        How many samples were written.

    Raises:
        HubError: There is no usable sample (``HUB-RETRAIN-001``).
    """
    unique = {(s.device, s.record.sample_id): s for s in samples if _fits(s.record)}
    shapes = Counter(tuple(s.record.shape) for s in unique.values())
    if not shapes:
        raise HubError("HUB-RETRAIN-001", "no device sent a usable labelled sample")
    shape = shapes.most_common(1)[0][0]
    kept = [s for s in unique.values() if tuple(s.record.shape) == shape]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / SAMPLES_FILE
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez_compressed(
            file,
            x=np.stack([_array(s.record) for s in kept]),
            label=np.array([s.record.label for s in kept]),
            group=np.array([s.device for s in kept]),
        )
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    return len(kept)


def _fits(record: SampleRecord) -> bool:
    size = math.prod(record.shape) if record.shape else 0
    return bool(record.label) and size > 0 and len(record.data) == 4 * size


def _array(record: SampleRecord) -> NDArray[np.float32]:
    flat = np.frombuffer(record.data, np.dtype("<f4"))
    return flat.reshape(record.shape).astype(np.float32)


def _write(path: Path, data: bytes) -> None:
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
