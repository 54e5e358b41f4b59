"""Taking a device out of the files of training jobs.

Its samples leave ``samples.npz``; its id leaves the list of who was asked, and is
written over in the trainer's log. What a model learned from it stays learned, as do
the bundle's own files (reference profile, golden samples): they are signed with it.
"""

import os
import re
from pathlib import Path

import numpy as np

from hub.errors import HubError
from hub.retrain.job_files import (
    DEVICES_FILE,
    SAMPLES_FILE,
    read_devices,
    write_devices,
)

_SHIELD = b"x"


def erase_from_jobs(jobs: Path, device: str) -> int:
    """Take a device out of the folders of all jobs; return how many files changed.

    Raises:
        HubError: A file cannot be read or written (``HUB-DEVICE-002``).
    """
    try:
        return sum(
            _erase_devices(folder, device)
            + _erase_samples(folder, device)
            + sum(_write_over(path, device) for path in sorted(folder.glob("*.log")))
            for folder in sorted(path for path in jobs.glob("*") if path.is_dir())
        )
    except (OSError, ValueError) as error:
        raise HubError(
            "HUB-DEVICE-002",
            f"the files of a training job cannot be changed: {error}",
            cure="make its folder writable and run the command again",
        ) from error


def _erase_devices(folder: Path, device: str) -> bool:
    if not (folder / DEVICES_FILE).exists():
        return False
    asked = read_devices(folder)
    if device not in asked:
        return False
    write_devices(folder, [one for one in asked if one != device])
    return True


def _erase_samples(folder: Path, device: str) -> bool:
    """Rewrite a job's samples without a device's; delete what has no others."""
    path = folder / SAMPLES_FILE
    part = path.with_suffix(".part")
    left = part.exists()
    part.unlink(missing_ok=True)
    if not path.exists():
        return left
    with np.load(path) as arrays:
        stored = {name: arrays[name] for name in arrays.files}
    others = stored["group"] != device
    if others.all():
        return left
    if not others.any():
        path.unlink()
        return True
    with part.open("wb") as file:
        np.savez_compressed(file, **{name: a[others] for name, a in stored.items()})
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    return True


def _write_over(path: Path, device: str) -> bool:
    """Write over an id in a log, in place: a trainer may be appending to it."""
    name = re.escape(device.encode())
    whole = re.compile(rb"(?<![A-Za-z0-9_-])" + name + rb"(?![A-Za-z0-9_-])")
    places = [found.start() for found in whole.finditer(path.read_bytes())]
    if places:
        with path.open("r+b") as file:
            for place in places:
                file.seek(place)
                file.write(_SHIELD * len(device))
    return bool(places)
