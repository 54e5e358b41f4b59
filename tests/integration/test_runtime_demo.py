"""The demo's models, as the trainer makes them, on whatever runtime this device has."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.runtime.litert import load_model

DEMO = Path(__file__).parents[1] / "data" / "demo"
OUTPUTS = {"probabilities": (7,), "embedding": (8,), "distance": (1,), "energy": (1,)}


def _windows() -> NDArray[np.float32]:
    """Return 40 windows such as a wrist makes: gravity, and swings of some size."""
    rng = np.random.default_rng(5)
    time = np.linspace(0, 2 * np.pi, 100)[None, :, None]
    swing = np.sin(time * rng.uniform(1, 6, (40, 1, 6)) + rng.uniform(0, 6, (40, 1, 6)))
    size = rng.uniform(0, 1, (40, 1, 6)) * np.array([0.5] * 3 + [1.0] * 3)
    place = np.concatenate([rng.normal(0, 0.5, (40, 1, 3)), np.zeros((40, 1, 3))], 2)
    return np.asarray(place + size * swing, np.float32)


def _answers(name: str) -> dict[str, NDArray[np.float32]]:
    model = load_model((DEMO / name).read_bytes())
    rows = [model.predict(window) for window in _windows()]
    model.close()
    return {output: np.stack([row[output] for row in rows]) for output in rows[0]}


@pytest.mark.parametrize("file", sorted(DEMO.iterdir()), ids=lambda path: path.stem)
def test_every_model_of_the_demo_answers(file: Path) -> None:
    """It loads, and its outputs are numbers that vary with the samples."""
    answers = _answers(file.name)

    assert {name: rows.shape[1:] for name, rows in answers.items()} == OUTPUTS
    np.testing.assert_allclose(answers["probabilities"].sum(1), 1, atol=0.05)
    for rows in answers.values():
        assert np.isfinite(rows).all()
        assert (rows.std(axis=0) > 0).all()


def test_int8_monitors_as_float_does() -> None:
    """Distances of one net in both forms go together, up to where int8 ends."""
    exact = _answers("first.float32.tflite")["distance"][:, 0]
    found = _answers("first.int8.tflite")["distance"][:, 0]
    end = found.max()

    np.testing.assert_allclose(found, np.minimum(exact, end), atol=0.8)
    assert np.abs(found - np.minimum(exact, end)).mean() < 0.3
