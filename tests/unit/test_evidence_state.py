"""Which models keep state from one sample to the next."""

from pathlib import Path

import numpy as np
import pytest

from edge_agent.runtime.litert import load_model
from edge_agent.runtime.state import keeps_state

DATA = Path(__file__).parents[1] / "data"
LOOP = DATA / "stateful" / "lstm.tflite"
"""A recurrent net as a loop inside the graph, which begins anew with each sample."""
PLAIN = sorted([*DATA.glob("*.tflite"), *DATA.glob("kinds/*.tflite"), LOOP])


@pytest.mark.parametrize("path", PLAIN, ids=lambda path: path.stem)
def test_models_without_variables_keep_no_state(path: Path) -> None:
    """Feed-forward models, of every number format, keep none."""
    assert not keeps_state(path.read_bytes())


def test_a_model_with_a_resource_variable_keeps_state() -> None:
    """Its operators read and assign one."""
    assert keeps_state((DATA / "stateful" / "sum.tflite").read_bytes())


def test_a_model_with_a_variable_tensor_keeps_state() -> None:
    """As fused recurrent operators have them; ``tiny.tflite`` with one marked so."""
    assert keeps_state((DATA / "stateful" / "variable.tflite").read_bytes())


def test_a_model_that_is_said_to_keep_state_answers_otherwise_the_second_time() -> None:
    """The same sample twice has two answers: single samples could not compare it."""
    model = load_model((DATA / "stateful" / "sum.tflite").read_bytes())
    sample = np.ones(model.inputs[0].shape, np.float32)
    first, second = model.predict(sample), model.predict(sample)
    model.close()
    (name,) = first
    assert not np.array_equal(first[name], second[name])


@pytest.mark.parametrize("cut", [0, 3, 4, 20, 400])
def test_a_file_that_cannot_be_read_keeps_none(cut: int) -> None:
    """It does not load either."""
    assert not keeps_state((DATA / "tiny.tflite").read_bytes()[:cut])
    assert not keeps_state(b"\xff" * cut)
