"""Files of samples: CSV, npz and images become the samples that they hold."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edge_agent.serve.files.csv_file import PIECE_ROWS, read_csv
from edge_agent.serve.files.reading import FileSample, read_samples
from tests.fakes.asked_model import contract_of


def _csv(folder: Path, text: str) -> Path:
    path = folder / "a.csv"
    path.write_text(text, "utf-8")
    return path


def _array(sample: FileSample) -> NDArray[Any]:
    assert isinstance(sample.values, np.ndarray)
    return sample.values


def _rows(path: Path, axes: str = "") -> list[list[float]]:
    return [row for piece in read_csv(path, list(axes)) for row in piece.tolist()]


def test_numbers_with_comments_blank_lines_and_a_mark_are_rows(tmp_path: Path) -> None:
    """What people and spreadsheets write is read."""
    path = _csv(tmp_path, "\ufeff1, 2\n\n# a remark\n3,4 # behind\r\n5,6")
    assert _rows(path) == [[1, 2], [3, 4], [5, 6]]


def test_a_header_picks_the_axes_in_the_inputs_order(tmp_path: Path) -> None:
    """A time stamp in the first column and other orders do no harm."""
    path = _csv(tmp_path, 'time,"y",x\n0.1,1,2\n0.2,3,4\n')
    assert _rows(path, "xy") == [[2, 1], [4, 3]]
    assert [len(row) for row in _rows(path, "xz")] == [3, 3]


def test_an_empty_cell_is_nan(tmp_path: Path) -> None:
    """A missing value spoils its window, not the file."""
    rows = _rows(_csv(tmp_path, "1,2\n3,\n"))
    assert rows[0] == [1, 2]
    assert np.isnan(rows[1][1])


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("1,2\n3,x\n", "line 2"),
        ("1,2\n3\n", "line 2"),
        ("a,b\n1,2\nfoo,bar\n", "line 3"),
        ("1" * (1 << 20) + "0\n", "longer"),
    ],
)
def test_what_is_no_row_is_named_by_its_line(
    tmp_path: Path, text: str, what: str
) -> None:
    """The person who wrote the file can find it."""
    with pytest.raises(ValueError, match=what):
        _rows(_csv(tmp_path, text))


def test_columns_must_not_change_between_pieces(tmp_path: Path) -> None:
    """A file of two recordings behind one another is refused where it changes."""
    text = "1,2\n" * PIECE_ROWS + "1,2,3\n"
    with pytest.raises(ValueError, match=f"line {PIECE_ROWS + 1}"):
        _rows(_csv(tmp_path, text))


def test_samples_of_an_npz_are_windows_of_each_array(tmp_path: Path) -> None:
    """Recordings are cut, a batch and a single sample are taken as they are."""
    path = tmp_path / "a.npz"
    long = np.arange(50, dtype=np.float64).reshape(25, 2)
    np.savez(path, long=long, batch=np.ones((3, 10, 2)), one=np.zeros((10, 2), "i2"))
    found = list(read_samples(path, contract_of(10, 2, hop=5)))
    assert [(s.name, s.at) for s in found] == [
        ("long", (0, 0)),
        ("long", (0, 5)),
        ("long", (0, 10)),
        ("long", (0, 15)),
        ("batch", (1, 0)),
        ("batch", (1, 1)),
        ("batch", (1, 2)),
        ("one", (2, 0)),
    ]
    assert np.array_equal(_array(found[1]), long[5:15])
    assert all(_array(sample).shape == (10, 2) for sample in found)
    assert all(_array(sample).dtype.kind == "f" for sample in found)


def test_large_arrays_are_read_in_pieces(tmp_path: Path) -> None:
    """Windows over the seams of pieces are those of the whole array."""
    path = tmp_path / "a.npz"
    whole = np.random.default_rng(3).normal(size=(300_000, 2)).astype(np.float32)
    np.savez_compressed(path, a=whole)
    steps: list[int] = []
    found = read_samples(
        path,
        contract_of(7, 2, hop=7),
        on_read=lambda done, total: steps.append(round(100 * done / total)),
    )
    for sample in found:
        at = sample.at[1]
        assert np.array_equal(_array(sample), whole[at : at + 7])
    assert len(steps) > 2
    assert steps == sorted(steps)
    assert steps[-1] == 100


def test_what_is_too_short_is_yielded_to_be_rejected(tmp_path: Path) -> None:
    """A recording without one whole window is not passed over in silence."""
    path = _csv(tmp_path, "1,2\n3,4\n")
    (sample,) = read_samples(path, contract_of(10, 2))
    assert _array(sample).shape == (2, 2)


def test_a_vector_of_features_is_one_row(tmp_path: Path) -> None:
    """A model without a time axis takes every line of a CSV as a sample."""
    path = _csv(tmp_path, "1,2,3\n4,5,6\n")
    found = list(read_samples(path, contract_of(3)))
    assert [_array(sample).tolist() for sample in found] == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize(
    ("array", "what"),
    [
        (np.array([{}, None], object), "pickle"),
        (np.array(["a", "b"]), "no numbers"),
        (np.zeros((4, 2), order="F"), "Fortran"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused(
    tmp_path: Path, array: np.ndarray[tuple[int, ...], np.dtype[np.object_]], what: str
) -> None:
    """Pickles would be programs; texts are no samples."""
    path = tmp_path / "a.npz"
    np.savez(path, a=array)
    with pytest.raises(ValueError, match=what):
        list(read_samples(path, contract_of(2, 2)))


def test_damaged_files_are_value_errors(tmp_path: Path) -> None:
    """Whatever is cut off or overwritten: never a traceback of a library."""
    path = tmp_path / "a.npz"
    np.savez_compressed(path, a=np.random.default_rng(1).normal(size=(500, 2)))
    whole = path.read_bytes()
    rng = np.random.default_rng(4)
    for _ in range(200):
        damaged = bytearray(whole[: rng.integers(1, len(whole) + 1)])
        for place in rng.integers(0, len(damaged), 3):
            damaged[place] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            list(read_samples(path, contract_of(10, 2)))
        except ValueError:
            continue


def test_images_are_decoded_as_the_input_wants_them(tmp_path: Path) -> None:
    """Channels follow the contract; size and values stay as they are in the file."""
    pixels = np.random.default_rng(2).integers(0, 256, (6, 8, 3), np.uint8)
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    (rgb,) = read_samples(path, contract_of(6, 8, 3))
    (grey,) = read_samples(path, contract_of(6, 8, 1))
    (flat,) = read_samples(path, contract_of(6, 8))
    (wrong,) = read_samples(path, contract_of(32, 32, 3))
    assert np.array_equal(_array(rgb), pixels.astype(np.float32))
    assert _array(grey).shape == (6, 8, 1)
    assert _array(flat).shape == (6, 8)
    assert _array(wrong).shape != (32, 32, 3)


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", b"GIF89a" + b"\0" * 50])
def test_what_is_no_image_is_refused(tmp_path: Path, data: bytes) -> None:
    """Torn files and formats that are not asked for."""
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="not a readable image"):
        list(read_samples(path, contract_of(6, 8, 3)))


def test_an_image_needs_a_model_of_images(tmp_path: Path) -> None:
    """A picture among the recordings of a sensor is said to be out of place."""
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 6)).save(path)
    with pytest.raises(ValueError, match="no images"):
        list(read_samples(path, contract_of(100, 6, 2)))
