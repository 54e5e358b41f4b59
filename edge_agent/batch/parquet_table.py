"""Answers as a Parquet file; the only file that imports pyarrow (``[parquet]``)."""

from collections.abc import Sequence
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from edge_agent.batch.table import Row

_FIXED = (
    ("sample_id", pa.string()),
    ("label", pa.string()),
    ("confidence", pa.float32()),
    ("latency_us", pa.float32()),
    ("rejected", pa.string()),
)


class ParquetTable:
    """The columns of the CSV; null where there is no answer."""

    def __init__(self, file: IO[bytes], names: Sequence[str]) -> None:
        """Begin with the schema."""
        numbers = [(name, pa.float32()) for name in names]
        self._schema = pa.schema([*_FIXED, *numbers])
        self._width = len(names)
        self._writer = pq.ParquetWriter(file, self._schema)

    def add(self, rows: Sequence[Row]) -> None:
        """Append rows, as one row group."""
        columns: list[list[object]] = [
            [row.sample_id for row in rows],
            [row.label if _has(row) else None for row in rows],
            [row.confidence if _has(row) else None for row in rows],
            [row.latency_us if _has(row) else None for row in rows],
            [row.rejected or None for row in rows],
        ]
        numbers = [
            [None] * self._width if row.numbers is None else row.numbers.tolist()
            for row in rows
        ]
        columns += map(list, zip(*numbers, strict=True))
        arrays = [
            pa.array(column, field.type)
            for column, field in zip(columns, self._schema, strict=True)
        ]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))

    def finish(self) -> None:
        """Write the footer."""
        self._writer.close()

    def close(self) -> None:
        """Nothing is held but the writer."""
        self._writer.close()


def _has(row: Row) -> bool:
    return row.numbers is not None
