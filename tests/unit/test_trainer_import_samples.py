"""Files of samples for a model made elsewhere."""

from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from edge_agent.wire.manifest import InputContract, TensorContract
from trainer.errors import DataError
from trainer.imports.samples import Samples, read_samples


def _input(
    name: str, *shape: int, dtype: str = "float32", hop: int = 0, high: float = 1e9
) -> InputContract:
    tensor = TensorContract(name=name, dtype=dtype, shape=list(shape))
    return InputContract(tensor=tensor, hop=hop, high=high)


PUMP = [_input("flow", 4), _input("level", 1)]
WINDOW = [_input("x", 10, 3, hop=5)]


def _csv(folder: Path, text: str) -> Path:
    path = folder / "samples.csv"
    path.write_text(text)
    return path


def _npz(folder: Path, **arrays: object) -> Path:
    path = folder / "samples.npz"
    np.savez(
        path, allow_pickle=False, **{name: np.asarray(a) for name, a in arrays.items()}
    )
    return path


def test_a_row_is_a_sample_where_it_is_as_wide(tmp_path: Path) -> None:
    """With or without a header; a sample's shape is made of it."""
    for text in ("1,2,3,4\n5,6,7,8\n", "a,b,c,d\n1,2,3,4\n5,6,7,8\n\n"):
        taken = read_samples(_csv(tmp_path, text), [_input("x", 2, 2)])
        assert taken.arrays["x"].tolist() == [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]
        assert taken.arrays["x"].dtype == np.float32
        assert taken.group.tolist() == ["samples", "samples"]
        assert taken.label.size == 0


def test_columns_of_several_inputs_follow_each_other(tmp_path: Path) -> None:
    """In the order of the inputs."""
    taken = read_samples(_csv(tmp_path, "1,2,3,4,9\n5,6,7,8,9\n"), PUMP)
    assert taken.arrays["flow"].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert taken.arrays["level"].tolist() == [[9], [9]]


def test_samples_of_a_stuck_sensor_are_left_out(tmp_path: Path) -> None:
    """As a device would: they are no reference for anything."""
    rows = np.arange(60.0).reshape(20, 3)
    rows[4:8, 1] = 7.0
    contract = replace(_input("x", 5, 3), flat_rows=4)
    taken = read_samples(_npz(tmp_path, a=rows), [contract])
    assert taken.left_out == 0
    rows[4:9, 1] = 7.0
    taken = read_samples(_npz(tmp_path, a=rows), [contract])
    assert (len(taken.group), taken.left_out) == (3, 1)


def test_rows_of_a_stream_become_windows_within_their_group(tmp_path: Path) -> None:
    """No window spans two groups; its label is that of its last row."""
    lines = ["x,y,z,group,label"]
    lines += [
        f"{n},0,0,p{n // 20},{'late' if n % 20 >= 14 else 'early'}" for n in range(40)
    ]
    taken = read_samples(_csv(tmp_path, "\n".join(lines)), WINDOW)
    starts = taken.arrays["x"][:, 0, 0].tolist()
    assert starts == [0, 5, 10, 20, 25, 30]
    assert taken.group.tolist() == ["p0"] * 3 + ["p1"] * 3
    assert taken.label.tolist() == ["early", "late", "late"] * 2


def test_arrays_are_batches_recordings_or_inputs_by_name(tmp_path: Path) -> None:
    """Whatever fits; the name of an array is its group."""
    batch = read_samples(_npz(tmp_path, a=np.zeros((7, 10, 3))), WINDOW)
    assert (len(batch), set(batch.group.tolist())) == (7, {"a"})
    streams = read_samples(
        _npz(tmp_path, a=np.zeros((20, 3)), b=np.ones((10, 3))), WINDOW
    )
    assert streams.group.tolist() == ["a", "a", "a", "b"]
    named = read_samples(
        _npz(tmp_path, level=np.ones((2, 1)), flow=np.zeros((2, 4)), label=["u", "d"]),
        PUMP,
    )
    assert (len(named), named.label.tolist()) == (2, ["u", "d"])


def test_what_a_device_would_reject_is_left_out(tmp_path: Path) -> None:
    """Values that are not finite, beyond a limit, or lost in the input's type."""
    rows = np.array([[1, 2], [np.nan, 2], [1, 2000], [1, 2]])
    taken = read_samples(_npz(tmp_path, a=rows), [_input("x", 2, high=1000.0)])
    assert (len(taken), taken.left_out) == (2, 2)
    counts = np.array([[1, 2], [1.5, 2], [3e9, 2]])
    whole = read_samples(_npz(tmp_path, a=counts), [_input("n", 2, dtype="int32")])
    assert whole.arrays["n"].tolist() == [[1, 2]]
    with pytest.raises(DataError) as caught:
        read_samples(_npz(tmp_path, a=np.full((3, 2), np.inf)), [_input("x", 2)])
    assert caught.value.code == "TRAINER-IMPORT-012"


@pytest.mark.parametrize(
    "text", ["", "a,b\n", "1,2\n3\n", "a,b\n1,x\n", "1;2;3\n", "1" * 200_000]
)
def test_a_broken_table_is_an_error_with_a_code(tmp_path: Path, text: str) -> None:
    """What cannot be read is said once, with what would do."""
    with pytest.raises(DataError) as caught:
        read_samples(_csv(tmp_path, text), [_input("x", 2)])
    assert caught.value.code in {"TRAINER-IMPORT-010", "TRAINER-IMPORT-011"}


def test_arrays_that_do_not_fit_are_an_error(tmp_path: Path) -> None:
    """Another width, too short a stream, a missing input, different counts."""
    for inputs, arrays in (
        ([_input("x", 3)], {"a": np.zeros((5, 2))}),
        (WINDOW, {"a": np.zeros((9, 3))}),
        (PUMP, {"flow": np.zeros((2, 4))}),
        (PUMP, {"flow": np.zeros((2, 4)), "level": np.zeros((3, 1))}),
    ):
        with pytest.raises(DataError) as caught:
            read_samples(_npz(tmp_path, **arrays), inputs)
        assert caught.value.code == "TRAINER-IMPORT-011"
    for path in (
        tmp_path / "missing.npz",
        _npz(tmp_path, a="text"),
        tmp_path / "x.txt",
    ):
        with pytest.raises(DataError) as caught:
            read_samples(path, [_input("x", 2)])
        assert caught.value.code == "TRAINER-IMPORT-010"


@pytest.mark.parametrize(
    "arrays",
    [
        {"x": np.zeros((0, 10, 3))},
        {"x": np.zeros((0, 7))},
        {"x": np.zeros(())},
        {"x": np.zeros((40, 3), complex)},
        {"x": np.zeros((40, 3)), "label": np.zeros(39)},
        {"label": np.zeros(5)},
        {"flow": np.zeros(()), "level": np.zeros((3, 1))},
        {"flow": np.zeros((0, 4)), "level": np.zeros((0, 1))},
        {"flow": np.zeros((3, 4)), "level": np.zeros((3, 1)), "label": ["x"] * 2},
        {"flow": np.zeros((3, 4)), "level": np.zeros((3, 1)), "label": [["x"]] * 3},
        {"flow": np.zeros((3, 4)), "level": np.zeros((3, 1)), "group": "one"},
        {"flow": [["1"] * 4] * 3, "level": np.zeros((3, 1))},
    ],
)
def test_arrays_that_hold_no_samples_are_said(
    tmp_path: Path, arrays: dict[str, object]
) -> None:
    """Nothing in them, no numbers, or labels of something else."""
    inputs = PUMP if "flow" in arrays else WINDOW
    with pytest.raises(DataError, match=r"holds no samples|one entry a row") as caught:
        read_samples(_npz(tmp_path, **arrays), inputs)
    assert caught.value.code == "TRAINER-IMPORT-010"


def test_what_no_input_is_named_after_is_left_alone(tmp_path: Path) -> None:
    """A file for several inputs may hold notes of somebody."""
    arrays = {"flow": np.zeros((3, 4)), "level": np.zeros((3, 1)), "who": "me"}
    assert len(read_samples(_npz(tmp_path, **arrays), PUMP)) == 3


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    """Objects would be programs."""
    np.savez(tmp_path / "samples.npz", a=np.array([{}], object))
    with pytest.raises(DataError) as caught:
        read_samples(tmp_path / "samples.npz", [_input("x", 2)])
    assert caught.value.code == "TRAINER-IMPORT-010"


def test_many_samples_are_the_first_of_them(tmp_path: Path) -> None:
    """So that an import takes minutes at most."""
    taken = read_samples(_npz(tmp_path, a=np.zeros((25_000, 2))), [_input("x", 2)])
    assert isinstance(taken, Samples)
    assert len(taken) == 20_000
