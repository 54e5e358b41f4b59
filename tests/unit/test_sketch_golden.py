"""Golden inputs are written, read and compared; whatever is wrong is told."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.sketch.golden import MAX_SAMPLES, Golden, read_golden, write_golden
from edge_agent.wire.manifest import (
    AnswerKind,
    Bundle,
    FileRef,
    GateReport,
    InputContract,
    Provenance,
    TensorContract,
)

FILE = FileRef(name="f", sha256="0" * 64, bytes=0)


def _bundle(kind: AnswerKind = AnswerKind.VALUES) -> Bundle:
    return Bundle(
        name="pump",
        task="pump",
        variant="float32",
        input=InputContract(tensor=TensorContract(name="flow", shape=[4])),
        extra_inputs=[
            InputContract(tensor=TensorContract(name="on", shape=[], dtype="bool"))
        ],
        outputs=[
            TensorContract(name="load", shape=[2]),
            TensorContract(name="a/b:0", shape=[1], dtype="int64"),
        ],
        answer=kind,
        labels=[] if kind is AnswerKind.VALUES else ["low", "high"],
        model=FILE,
        reference=FILE,
        golden=FILE,
        calibration=FILE,
        card=FILE,
        gate=GateReport(ok=True),
        provenance=Provenance(created_at=0.0),
    )


def _golden() -> Golden:
    return Golden(
        inputs={"flow": np.ones((3, 4), np.float32), "on": np.array([True, False, 1])},
        outputs={
            "load": np.full((3, 2), 10.0, np.float32),
            "a/b:0": np.array([[2**40], [2], [3]]),
        },
        atol={"load": 0.5, "a/b:0": 0.0},
    )


def test_what_is_written_is_read_again() -> None:
    """Names, types and tolerances survive, whatever the names are."""
    golden = _golden()
    golden.inputs["on"] = golden.inputs["on"].astype(bool)
    read = read_golden(write_golden(golden), _bundle())
    assert (len(read), read.atol) == (3, golden.atol)
    for mine, theirs in ((read.inputs, golden.inputs), (read.outputs, golden.outputs)):
        assert mine.keys() == theirs.keys()
        for name, values in mine.items():
            assert values.dtype == theirs[name].dtype
            np.testing.assert_array_equal(values, theirs[name])


def test_nothing_else_is_written() -> None:
    """The file holds the arrays and no pickle, whatever the version of numpy."""
    golden = _golden()
    golden.inputs["on"] = golden.inputs["on"].astype(bool)
    names = {f"input:{name}" for name in golden.inputs}
    names |= {
        f"{kind}:{name}" for name in golden.outputs for kind in ("output", "atol")
    }
    with np.load(io.BytesIO(write_golden(golden)), allow_pickle=False) as file:
        assert set(file.files) == names
    golden.inputs["on"] = np.array([{}, {}, {}], object)
    with pytest.raises(ValueError, match="pickle"):
        write_golden(golden)


@pytest.mark.parametrize(
    ("load", "count", "word"),
    [
        ([10.4, 9.6], 2**40, ""),
        ([10.6, 10.0], 2**40, "'load' is off by 0.6"),
        ([np.nan, 10.0], 2**40, "'load' is off by nan"),
        ([10.0, 10.0], 2**40 + 1, "'a/b:0' is off by 1"),
        ([10.0], 2**40, "shape"),
    ],
)
def test_answers_are_compared_within_each_tolerance(
    load: list[float], count: int, word: str
) -> None:
    """Every output has its own; NaN is never within."""
    answers = {"load": np.array(load, np.float32), "a/b:0": np.array([count])}
    fault = _golden().fault(0, answers)
    assert word in fault
    assert bool(fault) == bool(word)


def test_a_missing_output_is_named() -> None:
    """The model must have what is compared."""
    assert "'load'" in _golden().fault(0, {})


def test_older_files_hold_the_first_input_and_output() -> None:
    """Bundles of before are read as they were written."""
    buffer = io.BytesIO()
    np.savez(
        buffer,
        x=np.zeros((2, 4), np.float32),
        probabilities=np.zeros((2, 2), np.float32),
        atol=np.float32(0.01),
    )
    old = _bundle(AnswerKind.PROBABILITIES)
    with pytest.raises(ValueError, match="inputs"):
        read_golden(buffer.getvalue(), old)
    golden = read_golden(buffer.getvalue(), _single(old))
    assert list(golden.inputs) == ["flow"]
    assert golden.atol == {"load": pytest.approx(0.01)}


def _single(bundle: Bundle) -> Bundle:
    return Bundle(
        **{
            name: getattr(bundle, name)
            for name in bundle.__struct_fields__
            if name != "extra_inputs"
        }
    )


Arrays = dict[str, NDArray[np.generic]]
Spoil = Callable[[Arrays], None]


def _without(key: str) -> Spoil:
    def spoil(arrays: Arrays) -> None:
        del arrays[key]

    return spoil


def _with(key: str, value: NDArray[np.generic] | float) -> Spoil:
    return lambda arrays: arrays.update({key: np.asarray(value)})


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (_without("input:on"), "it has inputs"),
        (_without("atol:load"), "tolerance"),
        (_with("atol:load", -1.0), "tolerance"),
        (_with("atol:load", np.zeros(2)), "tolerance"),
        (_with("input:flow", np.zeros((3, 5), np.float32)), "shape"),
        (_with("input:flow", np.zeros((0, 4), np.float32)), "0 samples"),
        (_with("input:flow", np.zeros((MAX_SAMPLES + 1, 4), np.float32)), "samples"),
        (_with("input:flow", np.zeros((3, 4))), "float64"),
        (_with("output:load", np.full((3, 2), np.nan, np.float32)), "finite"),
        (_with("output:nowhere", np.zeros((3, 2), np.float32)), "tolerance"),
        (_with("input:flow", np.array("text")), "numbers"),
    ],
)
def test_what_does_not_fit_is_refused(spoil: Spoil, word: str) -> None:
    """Nothing in the file is believed."""
    golden = _golden()
    golden.inputs["on"] = golden.inputs["on"].astype(bool)
    with np.load(io.BytesIO(write_golden(golden))) as file:
        arrays = {name: file[name] for name in file.files}
    spoil(arrays)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    with pytest.raises(ValueError, match=word):
        read_golden(buffer.getvalue(), _bundle())


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 nothing", b"\x93NUMPY"])
def test_what_is_no_archive_is_refused(data: bytes) -> None:
    """A file of something else is an error with a text."""
    with pytest.raises(ValueError, match="cannot be read"):
        read_golden(data, _bundle())


def test_a_tolerance_that_lets_all_pass_is_refused() -> None:
    """Of probabilities, 1 is everything."""
    golden = _golden()
    golden.inputs["on"] = golden.inputs["on"].astype(bool)
    golden.atol["load"] = 1.0
    with pytest.raises(ValueError, match="any probability"):
        read_golden(write_golden(golden), _bundle(AnswerKind.PROBABILITIES))


def test_labels_fit_the_kind_of_answer() -> None:
    """A bundle says what its first output is, and has labels or none."""
    with pytest.raises(ValueError, match="no labels"):
        Bundle(
            **{
                **{n: getattr(_bundle(), n) for n in _bundle().__struct_fields__},
                "labels": ["a", "b"],
            }
        )
