"""What the trainer makes of a net: what it answers, and which operators it needs."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from trainer.gate.evaluate import ask

DEMO = Path(__file__).parents[1] / "data" / "demo"
RIDGE = 0.05


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a converted net."""
    made = tmp_path_factory.mktemp("converted")
    subprocess.run(
        [sys.executable, "-m", "tests.fakes.converted_net", str(made)],
        check=True,
        capture_output=True,
        timeout=110,
    )
    return made


def distances(folder: Path, variant: str) -> NDArray[np.float32]:
    """Return the file's ``distance`` of every sample."""
    with np.load(folder / "net.npz") as net:
        x = net["x"]
    model = (folder / f"{variant}.tflite").read_bytes()
    return ask(model, x, "probabilities").outputs["distance"][:, 0]


def test_distance_is_mahalanobis(folder: Path) -> None:
    """Of the hidden layer to its mean, with a ridge, computed another way."""
    with np.load(folder / "net.npz") as net:
        hidden = net["hidden"].astype(np.float64)
    covariance = np.cov(hidden, rowvar=False)
    ridge = RIDGE * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    off = hidden - hidden.mean(axis=0)
    squares = np.einsum("ni,ni->n", off @ np.linalg.inv(covariance + ridge), off)

    found = distances(folder, "float32")

    np.testing.assert_allclose(found, np.sqrt(squares), rtol=2e-3)


def test_int8_keeps_the_distance(folder: Path) -> None:
    """Within a twentieth of its median on average, and in the same order."""
    exact, found = distances(folder, "float32"), distances(folder, "int8")

    assert np.abs(found - exact).mean() < 0.05 * np.median(exact)
    assert np.corrcoef(found, exact)[0, 1] > 0.95


@pytest.mark.parametrize("variant", ["float32", "int8"])
def test_no_operator_is_newer_than_the_older_runtime(
    folder: Path, variant: str
) -> None:
    """Each is one of the demo's models', which the device's tests run on both."""
    proven: set[tuple[int, int]] = set()
    for file in sorted(DEMO.glob(f"*.{variant}.tflite")):
        proven |= operators(file.read_bytes())

    assert operators((folder / f"{variant}.tflite").read_bytes()) <= proven


def operators(data: bytes) -> set[tuple[int, int]]:
    """Return a file's operators with their versions."""
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    return {(code.builtinCode, code.version) for code in model.operatorCodes}
