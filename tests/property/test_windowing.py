"""Windows of a stream are slices of the whole recording, whatever pieces it came in."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.serve.windowing import (
    Override,
    Windower,
    Windowing,
    as_rows,
    as_sample,
    fit_windowing,
)
from edge_agent.wire.manifest import InputContract, TensorContract

sizes = st.integers(1, 12)
chunkings = st.lists(st.integers(0, 9), max_size=20)


def _recording(rows: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.arange(rows * 2, dtype=np.float32).reshape(rows, 2)


def _contract(*shape: int, hop: int = 0) -> InputContract:
    return InputContract(tensor=TensorContract(name="x", shape=list(shape)), hop=hop)


@given(chunks=chunkings, length=sizes, hop=sizes)
def test_a_stream_in_pieces_equals_slicing_the_whole(
    chunks: list[int], length: int, hop: int
) -> None:
    """Offsets and contents do not depend on how the rows were delivered."""
    whole = _recording(sum(chunks))
    windower = Windower(Windowing(length=length, hop=hop))
    made, at = [], 0
    for size in chunks:
        made += list(windower.push(whole[at : at + size]))
        at += size
    starts = range(0, len(whole) - length + 1, hop)

    assert [offset for offset, _ in made] == list(starts)
    for offset, window in made:
        assert np.array_equal(window, whole[offset : offset + length])


@given(before=chunkings, after=chunkings, length=sizes, hop=sizes)
def test_no_window_spans_a_gap(
    before: list[int], after: list[int], length: int, hop: int
) -> None:
    """After a reset the windows are those of the rest by itself, later in the count."""
    windower = Windower(Windowing(length=length, hop=hop))
    seen = 0
    for size in before:
        list(windower.push(_recording(size)))
        seen += size
    windower.reset()
    rest = _recording(sum(after))
    made, at = [], 0
    for size in after:
        made += list(windower.push(rest[at : at + size]))
        at += size

    starts = range(0, len(rest) - length + 1, hop)
    assert [offset for offset, _ in made] == [seen + start for start in starts]
    for offset, window in made:
        assert np.array_equal(window, rest[offset - seen : offset - seen + length])


@given(chunks=chunkings, length=sizes, hop=sizes)
def test_no_more_is_held_than_an_unfinished_window(
    chunks: list[int], length: int, hop: int
) -> None:
    """Between pieces fewer rows wait than a window has."""
    windower = Windower(Windowing(length=length, hop=hop))
    for size in chunks:
        list(windower.push(_recording(size)))
        assert windower._held is not None
        assert len(windower._held) < length


def test_a_row_of_another_shape_begins_anew() -> None:
    """A sensor that changes its number of axes leaves no mixed window."""
    windower = Windower(Windowing(length=2, hop=2))
    assert list(windower.push(np.zeros((1, 3)))) == []
    assert [at for at, _ in windower.push(np.zeros((2, 4)))] == [1]


def test_rows_are_fitted_to_the_input() -> None:
    """Rows of the input, whole samples and parts of a flat input are all understood."""
    imu = _contract(100, 6, hop=20)
    assert fit_windowing(imu, (6,)) == Windowing(length=100, hop=20)
    assert fit_windowing(imu, (100, 6)) == Windowing(length=1, hop=1)
    assert fit_windowing(_contract(600), (6,)) == Windowing(length=100, hop=100)
    assert fit_windowing(_contract(16), (16,)) == Windowing(length=1, hop=1)
    assert fit_windowing(_contract(16), ()) == Windowing(length=16, hop=16)
    assert fit_windowing(_contract(8, 8, 3), (8, 8, 3)) == Windowing(length=1, hop=1)
    # No way to fit: cut like the input's own, and rejected by its shape.
    assert fit_windowing(imu, (7,)) == Windowing(length=100, hop=20)
    assert fit_windowing(imu, (2,)) == Windowing(length=100, hop=20)
    own = fit_windowing(imu, (6,), Override(length=50, hop=5))
    assert own == Windowing(length=50, hop=5)


def test_a_window_of_the_right_size_takes_the_inputs_shape() -> None:
    """One row that is a whole sample loses its first axis; a wrong size stays."""
    assert as_sample(np.zeros((1, 16)), _contract(16)).shape == (16,)
    assert as_sample(np.zeros((100, 6)), _contract(600)).shape == (600,)
    assert as_sample(np.zeros((99, 6)), _contract(100, 6)).shape == (99, 6)
    # As many values, but two axes instead of six: not what the model means.
    assert as_sample(np.zeros((300, 2)), _contract(100, 6)).shape == (300, 2)


def test_what_arrives_at_once_becomes_rows() -> None:
    """One row, several, a batch of samples, or flat numbers: all are rows then."""
    imu = _contract(100, 6)
    shapes = [(6,), (5, 6), (100, 6), (3, 100, 6), (12,), (1200,)]
    made = [as_rows(np.zeros(shape), imu).shape for shape in shapes]
    assert made == [(1, 6), (5, 6), (100, 6), (3, 100, 6), (2, 6), (200, 6)]
    assert as_rows(np.zeros(32), _contract(16)).shape == (2, 16)
    with pytest.raises(ValueError, match="no rows"):
        as_rows(np.zeros(15), _contract(16))
    for stream in (_contract(16, hop=4), _contract(16)):
        rows = as_rows(np.zeros(5), stream, is_stream=stream.hop == 0)
        assert rows.shape == (5,)
    assert as_rows(np.zeros(()), _contract(16, hop=4)).shape == (1,)
