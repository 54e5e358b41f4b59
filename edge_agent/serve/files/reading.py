"""Any file of samples: its recordings, cut into samples by the input contract.

Used by the folder source and by ``edge-agent infer``. A position in a file is
(recording, row), and rises: a reader that was interrupted goes on behind one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_agent.serve.files.csv_file import read_csv
from edge_agent.serve.files.image_file import SUFFIXES as IMAGES
from edge_agent.serve.files.image_file import read_image
from edge_agent.serve.files.named_npz import read_named
from edge_agent.serve.files.npz_file import read_npz
from edge_agent.serve.files.progress import OnRead, ignore
from edge_agent.serve.joined import Joined, Values, number_type
from edge_agent.serve.windowing import (
    AS_CONTRACTED,
    Override,
    Rows,
    Windower,
    as_sample,
    fit_windowing,
)
from edge_agent.wire.manifest import InputContract

SUFFIXES = frozenset({".csv", ".npz"}) | IMAGES

Position = tuple[int, int]
Recordings = Iterator[tuple[str, Iterator[Rows]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSample:
    """One sample of a file; ``name`` is its recording's, empty in a CSV or image."""

    at: Position
    name: str
    values: Values


def read_samples(
    path: Path,
    contract: InputContract,
    override: Override = AS_CONTRACTED,
    on_read: OnRead = ignore,
) -> Iterator[FileSample]:
    """Yield a file's samples in the order of their positions.

    A recording shorter than one window is yielded as it is, to be rejected by its
    shape rather than passed over. Of a model with several inputs an npz file has an
    array for each, and every other file rows of them all.

    Args:
        path: CSV, npz or an image, by its suffix.
        contract: What a sample looks like.
        override: Another windowing than the contract's.
        on_read: Told how many bytes of how many were read, now and then.

    Raises:
        ValueError: The file is not what its suffix says.
        OSError: It cannot be read.
        AgentError: Pillow is needed and not installed (``AGENT-SOURCE-001``).
    """
    if isinstance(contract, Joined) and path.suffix.lower() == ".npz":
        for row, named in enumerate(read_named(path, contract.names, on_read)):
            yield FileSample(at=(0, row), name="", values=named)
        return
    recordings = _recordings(path, contract, on_read)
    for place, (name, pieces) in enumerate(recordings):
        windower: Windower | None = None
        short: Rows | None = None
        made = False
        for rows in pieces:
            if windower is None:
                windower = Windower(fit_windowing(contract, rows.shape[1:], override))
            for row, window in windower.push(rows):
                made, short = True, None
                yield _sample((place, row), name, window, contract)
            if not made:
                short = rows if short is None else np.concatenate((short, rows))
        if not made and short is not None:
            yield _sample((place, 0), name, short, contract)


def _sample(
    at: Position, name: str, window: Rows, contract: InputContract
) -> FileSample:
    values = as_sample(window, contract)
    if values.dtype.kind != "f" and np.dtype(contract.tensor.dtype).kind == "f":
        values = values.astype(np.float32)
    return FileSample(at=at, name=name, values=values)


def _recordings(path: Path, contract: InputContract, on_read: OnRead) -> Recordings:
    suffix = path.suffix.lower()
    if suffix == ".csv":
        yield "", read_csv(path, contract.axes, on_read, dtype=number_type(contract))
    elif suffix == ".npz":
        yield from read_npz(path, on_read)
    elif suffix in IMAGES:
        yield "", iter([read_image(path, contract)[np.newaxis]])
    else:
        raise ValueError(f"{suffix or 'a file without a suffix'} is no known format")
