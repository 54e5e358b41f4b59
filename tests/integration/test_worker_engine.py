"""The engine by itself: what an application embeds and `edge-agent infer` uses."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from edge_agent.engine import Engine
from edge_agent.errors import ModelError, SampleRejectedError
from edge_agent.wire.codec import encode_pretty
from edge_agent.wire.manifest import (
    BUNDLE_FILE,
    Bundle,
    FileRef,
    GateReport,
    InputContract,
    Provenance,
    TensorContract,
)

MODEL = Path(__file__).parents[1] / "data" / "tiny.tflite"


def _bundle(folder: Path, sha256: str) -> Path:
    data = MODEL.read_bytes()
    (folder / "model.tflite").write_bytes(data)
    other = FileRef(name="other", sha256="0" * 64, bytes=0)
    bundle = Bundle(
        name="tiny",
        task="watch",
        variant="float",
        input=InputContract(
            tensor=TensorContract(name="x", shape=[100, 6]), low=-9, high=9, hop=50
        ),
        outputs=[TensorContract(name="probabilities", shape=[7])],
        labels=list("abcdefg"),
        model=FileRef(name="model.tflite", sha256=sha256, bytes=len(data)),
        reference=other,
        golden=other,
        calibration=other,
        card=other,
        gate=GateReport(ok=True),
        provenance=Provenance(created_at=0.0),
    )
    (folder / BUNDLE_FILE).write_bytes(encode_pretty(bundle))
    return folder


def test_a_bare_model_answers_with_class_numbers() -> None:
    """Without a bundle the labels are the classes' numbers."""
    made = Engine.open(MODEL).predict(np.ones((100, 6), np.float32))
    assert made.label == str(made.index)
    assert made.confidence == pytest.approx(float(made.probabilities.max()))
    assert set(made.outputs) == {"probabilities", "embedding", "distance", "energy"}


def test_a_bundle_brings_labels_and_limits(tmp_path: Path) -> None:
    """A bundle folder's contract is applied."""
    digest = hashlib.sha256(MODEL.read_bytes()).hexdigest()
    engine = Engine.open(_bundle(tmp_path, digest), monitor=False)
    assert engine.predict(np.ones((100, 6), np.float32)).label in "abcdefg"
    with pytest.raises(SampleRejectedError):
        engine.predict(np.full((100, 6), 10, np.float32))


def test_a_bundle_with_a_wrong_digest_is_not_loaded(tmp_path: Path) -> None:
    """The bytes must be those that the bundle names."""
    with pytest.raises(ModelError, match="digest"):
        Engine.open(_bundle(tmp_path, "0" * 64))


def test_labels_must_fit_the_model() -> None:
    """A model with seven classes and two labels is refused at load."""
    with pytest.raises(ModelError) as caught:
        Engine(MODEL.read_bytes(), labels=["yes", "no"])
    assert caught.value.code == "AGENT-MODEL-008"
