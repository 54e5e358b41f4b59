"""Where a TFLite file keeps its numbers: a careful reader of just that.

A TFLite file is a flatbuffer, which :class:`FlatReader` follows. Read here are the
buffers of tensors, and the scales and zero points of their quantization; the numbers of
fields are those of the schema (Model, SubGraph, Tensor, QuantizationParameters,
Buffer). The file is not trusted: whatever does not fit raises, and a file that nothing
can be read from has no regions.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

MAX_TABLES = 1 << 16
_MODEL_SUBGRAPHS, _MODEL_BUFFERS = 2, 4
_SUBGRAPH_TENSORS = 0
_TENSOR_SHAPE, _TENSOR_TYPE, _TENSOR_BUFFER, _TENSOR_NAME = 0, 1, 2, 3
_TENSOR_QUANTIZATION = 4
_QUANTIZATION_SCALE, _QUANTIZATION_ZERO_POINT = 2, 3
_BUFFER_DATA = 0
_WIDTHS = {0: 4, 1: 2, 2: 4, 4: 4, 7: 2, 15: 4, 16: 2}
"""Bytes of an element by type: float32, float16, int32, int64 and more; else 1."""
FLOAT32, FLOAT16, INT8 = 0, 1, 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """Numbers at ``offset``; ``role`` tells what they are of tensor ``name``.

    ``width`` is the number of bytes that belong together, ``kind`` the tensor's type.
    """

    role: str
    name: bytes
    kind: int
    shape: tuple[int, ...]
    offset: int
    length: int
    width: int


def read_regions(data: bytes) -> list[Region]:
    """Return a file's regions by offset, none overlapping; none if it is unreadable."""
    try:
        found = sorted(_regions(FlatReader(data)), key=lambda region: region.offset)
    except (struct.error, ValueError):
        return []
    kept: list[Region] = []
    end = 0
    for region in found:
        if region.offset >= end:
            kept.append(region)
            end = region.offset + region.length
    return kept


def _regions(reader: "FlatReader") -> Iterator[Region]:
    model = reader.offset_at(0)
    buffers = reader.tables(model, _MODEL_BUFFERS)
    for graph in reader.tables(model, _MODEL_SUBGRAPHS):
        for tensor in reader.tables(graph, _SUBGRAPH_TENSORS):
            yield from _of_tensor(reader, tensor, buffers)


def _of_tensor(
    reader: "FlatReader", tensor: int, buffers: list[int]
) -> Iterator[Region]:
    kind = reader.number(tensor, _TENSOR_TYPE, "<b")
    start, count = reader.vector(tensor, _TENSOR_SHAPE, 4)
    shape = struct.unpack_from(f"<{count}i", reader.data, start)
    start, count = reader.vector(tensor, _TENSOR_NAME, 1)
    name = reader.data[start : start + count]
    buffer = reader.number(tensor, _TENSOR_BUFFER, "<I")
    if buffer >= len(buffers):
        raise ValueError("a tensor names a buffer that is not there")
    parts = [("data", *reader.vector(buffers[buffer], _BUFFER_DATA, 1))]
    quantization = reader.table(tensor, _TENSOR_QUANTIZATION)
    if quantization:
        scales = reader.vector(quantization, _QUANTIZATION_SCALE, 4)
        zeros = reader.vector(quantization, _QUANTIZATION_ZERO_POINT, 8)
        parts += [
            ("scale", scales[0], 4 * scales[1]),
            ("zero point", zeros[0], 8 * zeros[1]),
        ]
    for role, offset, length in parts:
        width = _WIDTHS.get(kind, 1) if role == "data" else 4
        if length and length % width == 0:
            yield Region(
                role=role,
                name=name,
                kind=kind,
                shape=shape,
                offset=offset,
                length=length,
                width=width,
            )


class FlatReader:
    """Follows the offsets of a flatbuffer; every place is checked.

    Its methods raise :class:`ValueError` or :class:`struct.error` where a place is not
    in the file. A table is known by its place, a field by its number in the schema.
    """

    def __init__(self, data: bytes) -> None:
        """Read a whole file."""
        self.data = data

    def offset_at(self, place: int) -> int:
        """Return the place that the offset at ``place`` leads to."""
        return place + int(struct.unpack_from("<I", self.data, place)[0])

    def number(self, table: int, field: int, form: str) -> int:
        """Return a field that is a number of a :mod:`struct` format; 0: not set."""
        place = self._field(table, field)
        return int(struct.unpack_from(form, self.data, place)[0]) if place else 0

    def table(self, table: int, field: int) -> int:
        """Return the place of a field that is a table; 0: not set."""
        place = self._field(table, field)
        return self.offset_at(place) if place else 0

    def vector(self, table: int, field: int, size: int) -> tuple[int, int]:
        """Return where a vector's elements are, and how many."""
        start = self.table(table, field)
        if not start:
            return 0, 0
        count = int(struct.unpack_from("<I", self.data, start)[0])
        if start + 4 + count * size > len(self.data):
            raise ValueError("a vector goes beyond the file")
        return start + 4, count

    def tables(self, table: int, field: int) -> list[int]:
        """Return the places of a field that is a vector of tables."""
        start, count = self.vector(table, field, 4)
        if count > MAX_TABLES:
            raise ValueError("too many tables")
        return [self.offset_at(start + 4 * place) for place in range(count)]

    def _field(self, table: int, field: int) -> int:
        """Return where a field is, or 0."""
        entries = table - int(struct.unpack_from("<i", self.data, table)[0])
        if entries < 0:
            raise ValueError("a table without entries")
        size = int(struct.unpack_from("<H", self.data, entries)[0])
        place = 4 + 2 * field
        if place + 2 > size:
            return 0
        relative = int(struct.unpack_from("<H", self.data, entries + place)[0])
        return table + relative if relative else 0
