"""What a bare model is taken for."""

from collections.abc import Sequence

import numpy as np
import pytest

from edge_agent.errors import ModelError
from edge_agent.runtime.port import TensorSpec
from edge_agent.runtime.telling import probabilities_of, read_answer, trial_samples
from edge_agent.wire.manifest import AnswerKind, InputContract, TensorContract

NAMED = ("probabilities", 3, ["probabilities", "e"])
LIKELY, LOGITS, MORE = [0.2, 0.7, 0.1], [4.0, -1.0, 2.0], [0.1]


def _told(
    outputs: dict[str, list[float]], labels: Sequence[str] = ()
) -> tuple[str, int, list[str]]:
    specs = [
        TensorSpec(name=name, dtype="float32", shape=(len(values),))
        for name, values in outputs.items()
    ]
    answers = [{name: np.array(v, np.float32) for name, v in outputs.items()}]
    kind, names, ordered = read_answer(specs, labels, answers)
    return kind.value, len(names), [spec.name for spec in ordered]


@pytest.mark.parametrize(
    ("outputs", "labels", "expected"),
    [
        ({"y": LIKELY}, "", ("probabilities", 3, ["y"])),
        ({"y": LOGITS}, "", ("values", 0, ["y"])),
        ({"y": LOGITS}, "abc", ("logits", 3, ["y"])),
        ({"y": MORE}, "", ("values", 0, ["y"])),
        ({"y": MORE}, "ab", ("sigmoid", 2, ["y"])),
        (
            {"e": MORE, "probabilities": LIKELY},
            "",
            NAMED,
        ),
        ({"e": MORE, "probabilities": LIKELY}, "abc", NAMED),
        ({"e": MORE, "y": LIKELY}, "", ("values", 0, ["e", "y"])),
        ({"e": MORE, "y": LIKELY}, "abc", ("probabilities", 3, ["y", "e"])),
    ],
)
def test_the_kind_of_answer_is_told_from_outputs_and_labels(
    outputs: dict[str, list[float]], labels: str, expected: tuple[str, int, list[str]]
) -> None:
    """A name, a width and what the numbers look like decide."""
    assert _told(outputs, list(labels)) == expected


def test_labels_that_fit_no_output_are_refused() -> None:
    """Two outputs of that width are one too many."""
    for outputs in ({"y": LIKELY}, {"y": LIKELY * 2, "z": LOGITS * 2}):
        with pytest.raises(ModelError) as caught:
            _told(outputs, list("abcdef")[: len(outputs) * 3 + 1])
        assert caught.value.code == "AGENT-MODEL-008"


def test_probabilities_sum_to_one_whatever_the_kind() -> None:
    """Softmax of large numbers overflows nothing; a sigmoid has two classes."""
    huge = np.array([1000.0, 999.0], np.float32)
    np.testing.assert_allclose(
        probabilities_of(AnswerKind.LOGITS, huge), [0.731, 0.269], atol=1e-3
    )
    sure = np.array([[0.9]], np.float32)
    np.testing.assert_allclose(
        probabilities_of(AnswerKind.SIGMOID, sure), [0.1, 0.9], atol=1e-6
    )
    assert probabilities_of(AnswerKind.VALUES, huge).size == 0


def test_trial_samples_keep_the_limits() -> None:
    """Integers stay nearest to zero: they may be numbers of rows."""
    inputs = [
        InputContract(tensor=TensorContract(name="x", shape=[50]), low=0.5, high=0.6),
        InputContract(
            tensor=TensorContract(name="n", shape=[2], dtype="int32"), low=0, high=9
        ),
    ]
    samples = trial_samples(inputs)
    high = np.float32(0.6)
    assert all(s["x"].min() >= 0.5 and s["x"].max() <= high for s in samples)
    assert all(s["n"].dtype == np.int32 and not s["n"].any() for s in samples)
