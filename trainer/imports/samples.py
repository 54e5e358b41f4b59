"""A file of samples, for a reference profile: what a model will see on devices.

CSV (numbers; a header may name the columns) or npz. A row is a whole sample, or a row
of a stream that is cut into windows; a model with several inputs has its columns one
input after another, or an array for each input by its name. A column or array
``label`` holds true classes, ``group`` names the stream that a row belongs to. Rows
that a device would reject are left out and counted.
"""

import csv
import io
import math
import zipfile
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from edge_agent.base.regular import open_regular
from edge_agent.sketch.flat import is_flat
from edge_agent.wire.manifest import InputContract
from trainer.errors import DataError

MAX_SAMPLES = 20_000
MAX_FILE_BYTES = 1 << 30
LABEL, GROUP = "label", "group"
_UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    csv.Error,
    zipfile.BadZipFile,
    zlib.error,
)

Array = NDArray[Any]
Texts = NDArray[np.str_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Samples by input, each ``(n, …)``; ``group`` and ``label`` ``(n,)`` texts.

    ``label`` is empty where the file has none; ``left_out`` counts what a device would
    reject.
    """

    arrays: dict[str, Array]
    group: Texts
    label: Texts
    left_out: int

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.group)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stream:
    """One recording: its rows, and what is known of each."""

    name: str
    values: Array
    label: Texts
    group: Texts


def read_samples(path: Path, inputs: Sequence[InputContract]) -> Samples:
    """Read a file of samples.

    Args:
        path: ``.csv`` or ``.npz``.
        inputs: What the model takes; the first one's ``hop`` says how far windows of
            a stream are apart (0: without overlap).

    Raises:
        DataError: It cannot be read (``TRAINER-IMPORT-010``), its arrays do not fit the
            inputs (``-011``), or no sample would pass a device's checks (``-012``).
    """
    try:
        open_regular(path, MAX_FILE_BYTES, follow=True).close()
        suffix = path.suffix.lower()
        if suffix == ".csv":
            streams = [_read_csv(path)]
        elif suffix == ".npz":
            wanted = {one.tensor.name for one in inputs} if len(inputs) > 1 else set()
            arrays = _read_npz(path, wanted)
            if wanted:
                return _checked(inputs, *_by_name(path, arrays, inputs))
            streams = _streams(arrays)
        else:
            raise ValueError("is neither .csv nor .npz")
    except _UNREADABLE as error:
        raise DataError(
            "TRAINER-IMPORT-010",
            f"{path} cannot be read: {error}",
            cure="give a .csv of numbers, one row a line, or an .npz of arrays",
        ) from error
    parts = [_cut(path, stream, inputs) for stream in streams]
    names = [contract.tensor.name for contract in inputs]
    arrays = {name: np.concatenate([part[0][name] for part in parts]) for name in names}
    label = np.concatenate([part[1] for part in parts])
    group = np.concatenate([part[2] for part in parts])
    return _checked(inputs, arrays, label, group)


def _read_csv(path: Path) -> _Stream:
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = [line for line in csv.reader(file) if line]
    if not lines:
        raise ValueError("it is empty")
    header = lines.pop(0) if not all(map(_is_number, lines[0])) else []
    width = len(header or lines[0]) if lines else 0
    if any(len(line) != width for line in lines) or not lines:
        raise ValueError("its lines have different numbers of columns")
    texts = {name: header.index(name) for name in (LABEL, GROUP) if name in header}
    columns = [place for place in range(width) if place not in texts.values()]
    numbers = [[float(line[place]) for place in columns] for line in lines]
    known = {
        name: np.array([line[texts[name]] if name in texts else "" for line in lines])
        for name in (LABEL, GROUP)
    }
    return _Stream(
        name=path.stem,
        values=np.array(numbers),
        label=known[LABEL],
        group=known[GROUP],
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_npz(path: Path, only: Collection[str]) -> dict[str, Array]:
    """Read arrays of samples (``only``: these, where any are named), and texts."""
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
        if sum(member.file_size for member in archive.infolist()) > MAX_FILE_BYTES:
            raise ValueError("it inflates too far")
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        wanted = {LABEL, GROUP, *only} if only else {*arrays.files}
        read = {name: arrays[name] for name in arrays.files if name in wanted}
    for name, values in read.items():
        if name in {LABEL, GROUP}:
            _check_texts(name, values, read)
        elif values.dtype.kind not in "fiub" or not values.ndim or not values.size:
            raise ValueError(f"array {name!r} holds no samples")
    return read


def _check_texts(name: str, values: Array, read: dict[str, Array]) -> None:
    """Refuse labels or groups that no other array has as many rows for."""
    lengths = {len(a) for n, a in read.items() if n not in {LABEL, GROUP} and a.ndim}
    if values.ndim != 1 or len(values) not in lengths:
        raise ValueError(
            f"array {name!r} of shape {list(values.shape)} has not one entry a row"
        )


def _streams(arrays: dict[str, Array]) -> list[_Stream]:
    known = {
        name: arrays[name].astype(np.str_) if name in arrays else None
        for name in (LABEL, GROUP)
    }
    others = {name: a for name, a in arrays.items() if name not in known}
    if not others:
        raise ValueError("there are no arrays of samples in it")
    streams = []
    for name, values in others.items():
        texts = [
            found if found is not None and found.shape == (len(values),) else None
            for found in known.values()
        ]
        label, group = (
            np.full(len(values), "") if one is None else one for one in texts
        )
        streams.append(_Stream(name=name, values=values, label=label, group=group))
    return streams


def _cut(
    path: Path, stream: _Stream, inputs: Sequence[InputContract]
) -> tuple[dict[str, Array], Texts, Texts]:
    """Return the samples of one recording, with the label and group of each."""
    group = np.where(stream.group == "", stream.name, stream.group)
    values = stream.values
    whole = _whole_samples(values, inputs)
    if whole is not None:
        return whole, stream.label, group
    contract = inputs[0]
    shape = tuple(contract.tensor.shape)
    row = math.prod(shape[1:])
    fits = len(inputs) == 1 and len(shape) > 1 and values[0].size == row
    if not fits or len(values) < shape[0]:
        wanted = [one.tensor.shape for one in inputs]
        raise DataError(
            "TRAINER-IMPORT-011",
            f"{path}: {stream.name!r} of shape {list(values.shape)} holds no samples of"
            f" {wanted}",
            cure="one row a sample, or rows of a stream that is as long as a window",
        )
    ends, windows = [], []
    hop = contract.hop or shape[0]
    for name in dict.fromkeys(group.tolist()):
        places = np.flatnonzero(group == name)
        for start in range(0, len(places) - shape[0] + 1, hop):
            chosen = places[start : start + shape[0]]
            windows.append(values[chosen].reshape(shape))
            ends.append(int(chosen[-1]))
    # The label of a window is that of its last row: what a device knows by then.
    cut = {contract.tensor.name: np.stack(windows)} if windows else {}
    if not cut:
        raise DataError(
            "TRAINER-IMPORT-011", f"{path}: no group is as long as {shape[0]} rows"
        )
    return cut, stream.label[ends], group[ends]


def _whole_samples(
    values: Array, inputs: Sequence[InputContract]
) -> dict[str, Array] | None:
    """Return rows that are samples by input; ``None`` where they are none."""
    shapes = [tuple(contract.tensor.shape) for contract in inputs]
    sizes = [math.prod(shape) for shape in shapes]
    if len(inputs) == 1 and values.shape[1:] == shapes[0]:
        return {inputs[0].tensor.name: values}
    if values.ndim != 2 or values.shape[1] != sum(sizes):  # noqa: PLR2004 - a table
        return None
    parts = np.split(values, np.cumsum(sizes)[:-1], axis=1)
    return {
        contract.tensor.name: part.reshape(len(values), *shape)
        for contract, part, shape in zip(inputs, parts, shapes, strict=True)
    }


def _by_name(
    path: Path, arrays: dict[str, Array], inputs: Sequence[InputContract]
) -> tuple[dict[str, Array], Texts, Texts]:
    names = [contract.tensor.name for contract in inputs]
    missing = [name for name in names if name not in arrays]
    # Labels and groups, where there are some, belong to every array of samples.
    rows = (*names, LABEL, GROUP)
    counts = {len(arrays[name]) for name in rows if name in arrays}
    fits = not missing and len(counts) == 1
    fits = fits and all(
        arrays[one.tensor.name].shape[1:] == tuple(one.tensor.shape) for one in inputs
    )
    if not fits:
        raise DataError(
            "TRAINER-IMPORT-011",
            f"{path} needs one array for each of the inputs {names}, each with as many"
            " samples of the input's shape",
        )
    count = counts.pop()
    label, group = (
        arrays.get(name, np.full(count, "")).astype(np.str_) for name in (LABEL, GROUP)
    )
    return {name: arrays[name] for name in names}, label, group


def _checked(
    inputs: Sequence[InputContract],
    arrays: dict[str, Array],
    label: Texts,
    group: Texts,
) -> Samples:
    """Leave out what a device would reject, and what is too much."""
    good = np.ones(len(group), bool)
    taken = {}
    for contract in inputs:
        values = arrays[contract.tensor.name]
        flat = values.reshape(len(values), -1).astype(np.float64)
        dtype = np.dtype(contract.tensor.dtype)
        with np.errstate(invalid="ignore", over="ignore"):
            taken[contract.tensor.name] = values.astype(dtype)
            good &= np.isfinite(flat).all(axis=1)
            if dtype.kind != "b":
                good &= (flat >= contract.low).all(axis=1)
                good &= (flat <= contract.high).all(axis=1)
            if dtype.kind != "f":
                back = taken[contract.tensor.name].reshape(len(values), -1)
                good &= (back.astype(np.float64) == flat).all(axis=1)
        flat_rows = contract.flat_rows
        if flat_rows is not UNSET and contract.tensor.shape:
            good &= [not is_flat(one, flat_rows) for one in values]
    places = np.flatnonzero(good)[:MAX_SAMPLES]
    if not len(places):
        raise DataError(
            "TRAINER-IMPORT-012",
            f"of {len(group)} samples a device would take none: their values are not"
            " finite, beyond the limits, of a stuck sensor, or of another type than"
            " the input's",
        )
    complete = not (label == "").any()
    return Samples(
        arrays={name: values[places] for name, values in taken.items()},
        group=group[places],
        label=label[places] if complete else np.empty(0, np.str_),
        left_out=len(group) - int(good.sum()),
    )
