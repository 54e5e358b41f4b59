"""A table of answers: what is in a row, and who writes it to which kind of file.

A table is written beside its name and takes that name when it is whole, so that nobody
reads half of one. No kind needs more memory than a piece of the table.
"""

import contextlib
import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from edge_agent.base.exit_codes import ExitCode
from edge_agent.batch.spreadsheet import csv_text
from edge_agent.errors import AgentError
from edge_agent.runtime.port import Floats
from edge_agent.store.disk import PART_SUFFIX

FIXED = ("sample_id", "label", "confidence", "latency_us", "rejected")
"""Columns of every table, before one for each number of the answer."""


class OutputError(AgentError):
    """A table that cannot be written (``AGENT-BATCH-…``)."""


class UsageError(OutputError):
    """A kind of table that is not known, or not installed."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One sample's answer; ``rejected`` is the reason where there is none."""

    sample_id: str
    label: str = ""
    confidence: float = 0.0
    latency_us: float = 0.0
    rejected: str = ""
    numbers: Floats | None = None
    """The probabilities, or what the model answers instead of classes."""


class Table(Protocol):
    """A table that is being written."""

    def add(self, rows: Sequence[Row]) -> None:
        """Append rows."""
        ...

    def finish(self) -> None:
        """Write what is still missing."""
        ...

    def close(self) -> None:
        """Free what is held; the table may be unfinished."""
        ...


class CsvTable:
    """One line a row; empty cells where there is no answer, and no formulas."""

    def __init__(self, file: IO[bytes], names: Sequence[str]) -> None:
        """Begin with the header."""
        self._text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
        self._writer = csv.writer(self._text)
        self._width = len(names)
        self._writer.writerow([*FIXED, *map(csv_text, names)])

    def add(self, rows: Sequence[Row]) -> None:
        """Append rows."""
        self._writer.writerows(map(self._cells, rows))

    def finish(self) -> None:
        """Write what is still missing."""
        self._text.flush()

    def close(self) -> None:
        """Leave the file to its owner."""
        self._text.detach()

    def _cells(self, row: Row) -> list[str]:
        if row.numbers is None:
            rejected = csv_text(row.rejected)
            return [csv_text(row.sample_id), "", "", "", rejected, *[""] * self._width]
        return [
            csv_text(row.sample_id),
            csv_text(row.label),
            f"{row.confidence:.6g}",
            f"{row.latency_us:.1f}",
            "",
            *(f"{number:.6g}" for number in row.numbers.tolist()),
        ]


OpenTable = Callable[[IO[bytes], Sequence[str]], Table]


@contextlib.contextmanager
def writing(path: Path, names: Sequence[str]) -> Iterator[Table]:
    """Write a table; it has its name when the block has ended without an error.

    Args:
        path: ``.csv``, ``.npz`` or ``.parquet``.
        names: What the numbers of an answer are called.

    Raises:
        UsageError: The kind is not known (``AGENT-BATCH-001``) or not installed
            (``AGENT-BATCH-002``).
        OutputError: The file cannot be written (``AGENT-BATCH-003``).
    """
    opener = _opener_of(path)
    part = path.with_name(path.name + PART_SUFFIX)
    try:
        with part.open("wb") as file:
            table = opener(file, names)
            with contextlib.closing(table):
                yield table
                table.finish()
        part.replace(path)
    except OSError as error:
        raise OutputError(
            "AGENT-BATCH-003",
            f"{path} cannot be written: {error}",
            cure="is its folder there, writable, and is there room?",
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _opener_of(path: Path) -> OpenTable:
    match path.suffix.lower():
        case ".csv":
            return CsvTable
        case ".npz":
            from edge_agent.batch.npz_table import NpzTable

            return NpzTable
        case ".parquet":
            return _parquet()
    raise UsageError(
        "AGENT-BATCH-001",
        f"{path}: what kind of table is that?",
        cure="end its name in .csv, .npz or .parquet",
    )


def _parquet() -> OpenTable:
    try:
        from edge_agent.batch.parquet_table import ParquetTable
    except ImportError as error:
        raise UsageError(
            "AGENT-BATCH-002",
            f"Parquet needs pyarrow, which cannot be loaded here: {error}",
            cure="pip install 'shoal[parquet]', or write .csv or .npz",
        ) from error
    return ParquetTable
