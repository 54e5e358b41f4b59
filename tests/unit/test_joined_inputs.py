"""A model with several inputs as sources see it: rows, names, files, messages."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.engine import Engine
from edge_agent.errors import SampleRejectedError
from edge_agent.serve.files.reading import read_samples
from edge_agent.serve.joined import Joined, join_inputs, split_row
from edge_agent.serve.sources.payload import read_payload
from edge_agent.wire.manifest import InputContract, NumberType, TensorContract
from tests.fakes.asked_model import contract_of
from tests.fakes.pump_release import MODEL


def _input(name: str, *shape: int, dtype: NumberType = "float32") -> InputContract:
    return InputContract(
        tensor=TensorContract(name=name, shape=list(shape), dtype=dtype)
    )


GRID = _input("grid", 2, 2)
COUNT = _input("count", dtype="int64")
CONTRACT = join_inputs([GRID, COUNT])


def _told(sample: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever a reader gives
    named = split_row(sample, CONTRACT)
    assert isinstance(named, Mapping)
    return {name: values.tolist() for name, values in named.items()}


def test_a_row_has_the_inputs_one_after_another() -> None:
    """Columns are named by input and place, and come back in the inputs' shapes."""
    assert isinstance(CONTRACT, Joined)
    assert CONTRACT.axes == ["grid.0", "grid.1", "grid.2", "grid.3", "count"]
    assert _told(np.arange(5.0)) == {"grid": [[0, 1], [2, 3]], "count": 4}
    single = contract_of(4, 2)
    assert join_inputs([single]) is single
    rows = np.zeros((4, 2))
    assert split_row(rows, single) is rows


@pytest.mark.parametrize("length", [2, 4, 6])
def test_a_row_of_another_length_is_rejected_by_its_shape(length: int) -> None:
    """Never is a number that is missing made up, or one too many forgotten."""
    engine = Engine(MODEL.read_bytes())
    row = np.zeros(length, np.float32)
    with pytest.raises(SampleRejectedError) as caught:
        engine.predict(split_row(row, join_inputs(engine.contracts)))
    assert caught.value.reason == "shape"
    engine.close()


def test_a_csv_has_a_line_a_sample(tmp_path: Path) -> None:
    """By the header's names in any order, or by their places."""
    named, plain = tmp_path / "named.csv", tmp_path / "plain.csv"
    named.write_text(
        "count,at,grid.3,grid.2,grid.1,grid.0\n9007199254740991,0,4,3,2,1\n"
    )
    plain.write_text("1,2,3,4,5\n6,7,8,9,10\n")
    (one,) = read_samples(named, CONTRACT)
    assert _told(one.values) == {"grid": [[1, 2], [3, 4]], "count": 2**53 - 1}
    first, second = read_samples(plain, CONTRACT)
    assert (first.at, second.at) == ((0, 0), (0, 1))
    assert _told(second.values) == {"grid": [[6, 7], [8, 9]], "count": 10}


def test_an_npz_has_an_array_for_each_input(tmp_path: Path) -> None:
    """In any order, beside others, larger than a piece; integers stay what they are."""
    count = 40_000
    grids = np.arange(4 * count, dtype=np.float64).reshape(count, 2, 2)
    counts = np.arange(count) + (1 << 60)
    np.savez(tmp_path / "a.npz", label=np.zeros(3), count=counts, grid=grids)
    samples = list(read_samples(tmp_path / "a.npz", CONTRACT))
    assert len(samples) == count
    assert samples[-1].at == (0, count - 1)
    assert _told(samples[-1].values) == {
        "grid": grids[-1].tolist(),
        "count": (1 << 60) + count - 1,
    }


@pytest.mark.parametrize(
    ("arrays", "what"),
    [
        (
            {"grid": np.zeros((2, 2, 2))},
            "no array 'count'; the model",
        ),
        ({"grid": np.zeros((2, 2, 2)), "count": np.zeros(3)}, "different numbers"),
        ({"grid": np.zeros((2, 2, 2)), "count": np.array(["a", "b"])}, "no numbers"),
    ],
)
def test_an_npz_that_does_not_fit_is_told(
    tmp_path: Path, arrays: dict[str, NDArray[Any]], what: str
) -> None:
    """Before the first sample where that can be known."""
    np.savez(tmp_path / "a.npz", allow_pickle=True, **arrays)
    with pytest.raises(ValueError, match=what):
        list(read_samples(tmp_path / "a.npz", CONTRACT))


def test_other_files_are_refused(tmp_path: Path) -> None:
    """An image is one input."""
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(ValueError, match="grid, count"):
        list(read_samples(tmp_path / "a.png", CONTRACT))


@pytest.mark.parametrize(
    "document",
    [
        {"count": 7, "grid": [[1, 2], [3, 4]], "at": "noon"},
        {"grid": [1, 2, 3, 4], "count": [7]},
        [1, 2, 3, 4, 7],
        [[1, 2, 3, 4, 7]],
    ],
)
def test_a_message_names_the_inputs_or_is_a_row(document: object) -> None:
    """One sample, whole, whatever hop the configuration gives."""
    rows = read_payload(json.dumps(document).encode(), "json", CONTRACT, is_stream=True)
    assert rows.shape == (1, 5)
    assert _told(rows[0]) == {"grid": [[1, 2], [3, 4]], "count": 7}


@pytest.mark.parametrize(
    ("document", "what"),
    [
        ({"grid": [1, 2, 3, 4]}, "nothing for .'count'"),
        ({"grid": [1, 2, 3], "count": 7}, "'grid' has 3 numbers"),
        ({"grid": [1, 2, 3, "x"], "count": 7}, "not numbers"),
        ({"grid": [[1, 2], [3]], "count": 7}, "not numbers"),
        ([1, 2, 3, 4], "no rows"),
    ],
)
def test_a_message_that_does_not_fit_is_told(document: object, what: str) -> None:
    """With the input's name."""
    with pytest.raises(ValueError, match=what):
        read_payload(json.dumps(document).encode(), "json", CONTRACT)
