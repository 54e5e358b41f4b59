"""Which models keep state from one sample to the next."""

from pathlib import Path

import pytest

from edge_agent.runtime.state import keeps_state

DATA = Path(__file__).parents[1] / "data"
PLAIN = sorted([*DATA.glob("*.tflite"), *DATA.glob("kinds/**/*.tflite")])


@pytest.mark.parametrize("path", PLAIN, ids=lambda path: path.stem)
def test_models_without_variables_keep_no_state(path: Path) -> None:
    """Feed-forward models, of every number format, keep none."""
    assert not keeps_state(path.read_bytes())


@pytest.mark.parametrize("cut", [0, 3, 4, 20, 400])
def test_a_file_that_cannot_be_read_keeps_none(cut: int) -> None:
    """It does not load either."""
    assert not keeps_state((DATA / "tiny.tflite").read_bytes()[:cut])
    assert not keeps_state(b"\xff" * cut)
