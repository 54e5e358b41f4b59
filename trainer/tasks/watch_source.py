"""The watch recordings: found in the ``seglearn`` package, checked, kept as npz.

The package ships a pickle (140 recordings of 7 shoulder exercises by 10 people, watch
on the left or right arm, accelerometer in g and gyroscope in rad/s at 50 Hz; BSD
licence; Burns et al., 2018, arXiv 1802.01489). Its digest is pinned, and only those
very bytes are ever unpickled, once; from then on an npz in the cache is read. The
package itself is never imported: it would bring scikit-learn and SciPy along.
"""

import hashlib
import io
import os
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np

from trainer.errors import DataError
from trainer.tasks.task import Floats

PACKAGE = "seglearn"
FILE = "seglearn/data/watch_dataset.npy"
SHA256 = "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537"
ARMS = ("left", "right")
"""By the number that the source gives the side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One person doing one exercise: ``rows`` is float32 ``(n, 6)`` at 50 Hz."""

    person: str
    arm: str
    exercise: int
    rows: Floats

    @property
    def name(self) -> str:
        """A name such as ``p07-right-e3``."""
        return f"{self.person}-{self.arm}-e{self.exercise}"


def load_recordings() -> tuple[Recording, ...]:
    """Return all recordings, ordered by person, arm and exercise.

    Raises:
        DataError: The package is not installed (``TRAINER-DATA-001``), its file is
            not the pinned one (``-002``), or the cache cannot be written (``-003``).
    """
    path = _cache_folder() / f"watch-{SHA256[:16]}.npz"
    if not path.exists():
        _convert(path)
    with np.load(path, allow_pickle=False) as arrays:
        rows, ends = arrays["rows"], arrays["ends"]
        about = zip(
            arrays["person"].tolist(),
            arrays["side"].tolist(),
            arrays["exercise"].tolist(),
            np.split(rows, ends[:-1]),
            strict=True,
        )
        recordings = [
            Recording(
                person=f"p{person:02d}", arm=ARMS[side], exercise=exercise, rows=part
            )
            for person, side, exercise, part in about
        ]
    return tuple(sorted(recordings, key=lambda r: (r.person, r.arm, r.exercise)))


def _cache_folder() -> Path:
    chosen = os.environ.get("SHOAL_CACHE")
    if chosen:
        return Path(chosen)
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "shoal"


def _read_source() -> bytes:
    try:
        data = Path(str(distribution(PACKAGE).locate_file(FILE))).read_bytes()
    except (PackageNotFoundError, OSError) as error:
        raise DataError(
            "TRAINER-DATA-001",
            f"the watch recordings are not installed: {error}",
            cure="install shoal[trainer], which brings the package seglearn",
        ) from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != SHA256:
        raise DataError(
            "TRAINER-DATA-002",
            f"{FILE} has digest {digest}, not {SHA256}",
            cure="install seglearn 1.2.5 or newer 1.2.x from a source you trust",
        )
    return data


def _convert(path: Path) -> None:
    # The digest above makes these the bytes that were looked at, so the pickle in
    # them can do no more than it did then: make arrays.
    source: dict[str, Any] = np.load(
        io.BytesIO(_read_source()), allow_pickle=True
    ).item()
    parts = [np.asarray(rows, np.float32) for rows in source["X"]]
    buffer = io.BytesIO()
    np.savez(
        buffer,
        rows=np.concatenate(parts),
        ends=np.cumsum([len(part) for part in parts]),
        person=np.asarray(source["subject"], np.int64),
        side=np.asarray(source["side"], np.int64),
        exercise=np.asarray(source["y"], np.int64),
    )
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(buffer.getvalue())
        temporary.replace(path)
    except OSError as error:
        raise DataError(
            "TRAINER-DATA-003",
            f"cannot keep the converted recordings: {error}",
            cure="name a writable folder in SHOAL_CACHE",
        ) from error
