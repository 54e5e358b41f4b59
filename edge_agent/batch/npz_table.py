"""Answers as an npz file: one array a column, and ``numbers`` with their ``names``.

An array's length is in its header, before its values, and known only at the end: the
columns wait in temporary files without a name, which the system removes by itself.
"""

import contextlib
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from edge_agent.batch.table import Row

PIECE = 1 << 20
TEXTS = ("sample_id", "label", "rejected")
FIGURES = ("confidence", "latency_us", "numbers")
_FLOAT = np.dtype("<f4")


class NpzTable:
    """Texts of a fixed width, numbers as float32; NaN where there is no answer."""

    def __init__(self, file: IO[bytes], names: Sequence[str]) -> None:
        """Begin with no row."""
        self._names = list(names)
        self._widths = dict.fromkeys(TEXTS, 1)
        self._rows = 0
        self._open = contextlib.ExitStack()
        folder = Path(file.name).parent
        self._columns = {
            name: self._open.enter_context(_passing_file(folder))
            for name in (*TEXTS, *FIGURES)
        }
        self._archive = self._open.enter_context(
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED)
        )

    def add(self, rows: Sequence[Row]) -> None:
        """Append rows."""
        self._rows += len(rows)
        for name in TEXTS:
            texts = [str(getattr(row, name)).replace("\n", " ") for row in rows]
            self._widths[name] = max(self._widths[name], *map(len, texts))
            self._columns[name].write("".join(f"{text}\n" for text in texts).encode())
        answered = [row.numbers is not None for row in rows]
        for name in ("confidence", "latency_us"):
            values = np.asarray([getattr(row, name) for row in rows], _FLOAT)
            known = np.where(answered, values, np.nan).astype(_FLOAT)
            self._columns[name].write(known.tobytes())
        nothing = np.full(len(self._names), np.nan, _FLOAT)
        made = [nothing if row.numbers is None else row.numbers for row in rows]
        self._columns["numbers"].write(np.asarray(made, _FLOAT).tobytes())

    def finish(self) -> None:
        """Write all arrays."""
        for name in TEXTS:
            self._write_texts(name)
        for name in FIGURES:
            row = (len(self._names),) if name == "numbers" else ()
            self._write_floats(name, (self._rows, *row))
        with self._archive.open("names.npy", "w") as target:
            npy.write_array(target, np.asarray(self._names, "U"))

    def close(self) -> None:
        """Free the temporary files."""
        self._open.close()

    def _write_texts(self, name: str) -> None:
        dtype = np.dtype(f"<U{self._widths[name]}")
        lines = self._columns[name]
        lines.seek(0)
        with self._begin(name, dtype, (self._rows,)) as target:
            while piece := lines.readlines(PIECE):
                texts = [line[:-1].decode() for line in piece]
                target.write(np.asarray(texts, dtype).tobytes())

    def _write_floats(self, name: str, shape: tuple[int, ...]) -> None:
        values = self._columns[name]
        values.seek(0)
        with self._begin(name, _FLOAT, shape) as target:
            while piece := values.read(PIECE):
                target.write(piece)

    def _begin(
        self, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]
    ) -> IO[bytes]:
        target = self._archive.open(f"{name}.npy", "w", force_zip64=True)
        descr = npy.dtype_to_descr(dtype)
        header = {"descr": descr, "fortran_order": False, "shape": shape}
        npy.write_array_header_1_0(target, header)
        return target


def _passing_file(folder: Path) -> IO[bytes]:
    # Not in the system's folder for such files, which may be memory.
    return tempfile.TemporaryFile(dir=folder)
