"""``trainer import``: a file made elsewhere becomes a bundle, or a helpful error."""

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge_agent.sketch.golden import read_golden
from edge_agent.wire.codec import decode
from edge_agent.wire.manifest import AnswerKind, Bundle
from edge_agent.wire.profile import ReferenceProfile
from trainer.bundle import OpenBundle, read_bundle, write_bundle
from trainer.errors import DataError
from trainer.imports.read import name_of
from trainer.pipeline.foreign import _first_line

KINDS = Path(__file__).parents[1] / "data" / "kinds"
TINY = KINDS.parent / "tiny.tflite"


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run ``trainer import``."""
    return subprocess.run(
        [sys.executable, "-m", "trainer", "import", *map(str, words)],
        check=False,
        capture_output=True,
        text=True,
        timeout=110,
    )


def made(folder: Path, source: Path, *words: str | Path) -> OpenBundle:
    """Import a model and return its bundle, verified."""
    done = run(source, "--out", folder / "bundle", *words)
    assert done.returncode == 0, done.stderr
    return read_bundle(folder / "bundle")


@pytest.mark.parametrize(
    ("kind", "inputs", "outputs"),
    [
        ("pump", ["flow float32", "level float32"], ["load float32", "states float32"]),
        ("pump-int8", ["flow float32", "level float32"], ["load float32"]),
        ("kinds", ["counts int32", "mask bool", "ticks int64"], ["kept int32"]),
        ("half", ["x float32"], ["y float32"]),
        ("two", ["x float32"], ["doubled float32"]),
    ],
)
def test_the_contract_is_read_from_the_model(
    tmp_path: Path, kind: str, inputs: list[str], outputs: list[str]
) -> None:
    """Names and number formats are those that samples and answers have."""
    bundle = made(tmp_path, KINDS / f"{kind}.tflite").bundle
    found = [f"{one.tensor.name} {one.tensor.dtype}" for one in bundle.inputs]
    assert found == inputs
    told = [f"{one.name} {one.dtype}" for one in bundle.outputs]
    assert told[: len(outputs)] == outputs
    assert (bundle.kind, bundle.labels) == (AnswerKind.VALUES, [])
    assert (bundle.name, bundle.variant) == (kind, "imported")


def test_golden_answers_are_recorded_on_the_devices_runtime(tmp_path: Path) -> None:
    """Whole numbers beside the telling output are recorded, but not compared."""
    opened = made(tmp_path, KINDS / "kinds.tflite")
    golden = read_golden(opened.files["golden.npz"], opened.bundle)
    assert set(golden.inputs) == {"counts", "mask", "ticks"}
    assert golden.atol == {"kept": 0.0}
    pump = made(tmp_path / "more", KINDS / "pump-int8.tflite")
    golden = read_golden(pump.files["golden.npz"], pump.bundle)
    assert set(golden.outputs) == {"load", "states"}
    assert all(atol > 0 for atol in golden.atol.values())


def test_without_samples_nothing_is_watched(tmp_path: Path) -> None:
    """The reference is empty, and the card says so."""
    opened = made(tmp_path, TINY, "--name", "moves", "--task", "moving")
    reference = decode(opened.files["reference.json"], ReferenceProfile)
    assert (reference.channels, reference.data.rows) == ([], 0)
    assert "drift cannot be watched" in opened.files["card.md"].decode()
    bundle = opened.bundle
    assert (bundle.name, bundle.task) == ("moves", "moving")
    assert (bundle.kind, len(bundle.labels)) == (AnswerKind.PROBABILITIES, 7)


def test_samples_make_channels_and_labels_a_gate(tmp_path: Path) -> None:
    """A model that guesses worse than chance is refused, with its bundle written."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(120, 100, 6)).astype(np.float32)
    np.savez(tmp_path / "s.npz", a=x, label=["nobody"] * 120)
    (tmp_path / "names.txt").write_text("".join(f"m{n}\n" for n in range(7)))
    words = ["--samples", str(tmp_path / "s.npz"), "--axes", "a,b,c,d,e,f"]
    words += ["--labels", str(tmp_path / "names.txt")]
    done = run(TINY, "--out", tmp_path / "bundle", *words)
    assert done.returncode == 7
    assert "accuracy 0 (limit" in done.stderr
    opened = read_bundle(tmp_path / "bundle")
    reference = decode(opened.files["reference.json"], ReferenceProfile)
    names = [channel.name for channel in reference.channels]
    assert {"class", "confidence", "mean.a", "std.f", "energy"} <= set(names)
    assert reference.data.rows == 120
    assert [check.ok for check in opened.bundle.gate.checks] == [True, False]


def test_the_same_file_gives_the_same_files(tmp_path: Path) -> None:
    """But for the time, an import can be repeated."""
    one, two = (
        made(tmp_path / name, KINDS / "pump.tflite").files for name in ("a", "b")
    )
    for name in ("model.tflite", "golden.npz", "reference.json", "calibration.npz"):
        assert one[name] == two[name]


@pytest.mark.parametrize(
    ("source", "words", "said"),
    [
        ("kinds/text.tflite", [], "AGENT-MODEL-002"),
        ("kinds/waves.tflite", [], "AGENT-MODEL-002"),
        ("kinds/rows.tflite", [], "free dimension"),
        ("kinds/rows.tflite", ["--shape", "rows=3"], "free dimension"),
        ("demo-records.tsv.gz", [], "TRAINER-IMPORT-001"),
        ("kinds", [], "TRAINER-IMPORT-001"),
        ("tiny.tflite", ["--axes", "a,b"], "TRAINER-IMPORT-009"),
        ("tiny.tflite", ["--labels", "{two}"], "AGENT-MODEL-008"),
        ("tiny.tflite", ["--labels", "{twice}"], "TRAINER-IMPORT-007"),
        ("tiny.tflite", ["--samples", "{two}"], "TRAINER-IMPORT-010"),
        ("tiny.tflite", ["--name", "My Model"], "'My Model' is no name"),
        ("tiny.tflite", ["--task", "t" * 65], "TRAINER-IMPORT-013"),
        ("tiny.tflite", ["--low", "5", "--high", "-5"], "between 5 and -5"),
        ("tiny.tflite", ["--high", "nan"], "TRAINER-IMPORT-013"),
        ("tiny.tflite", ["--sample-rate", "nan"], "TRAINER-IMPORT-013"),
        ("tiny.tflite", ["--sample-rate", "inf"], "TRAINER-IMPORT-013"),
        ("tiny.tflite", ["--hop", str(2**60)], "TRAINER-IMPORT-013"),
        ("tiny.tflite", ["--shape", "y=3"], "is of no input: x [100, 6]"),
        ("tiny.tflite", ["--shape", "x=99,6"], "TRAINER-IMPORT-013"),
        ("kinds/rows.tflite", ["--shape", "rows=999999999,3"], "is too large"),
    ],
)
def test_what_cannot_be_imported_leaves_nothing(
    tmp_path: Path, source: str, words: list[str], said: str
) -> None:
    """A code, a text, no traceback, no folder."""
    (tmp_path / "two.txt").write_text("yes\nno\n")
    (tmp_path / "twice.txt").write_text("yes\nyes\n")
    words = [
        word.format(two=tmp_path / "two.txt", twice=tmp_path / "twice.txt")
        for word in words
    ]
    done = run(KINDS.parent / source, "--out", tmp_path / "bundle", *words)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "bundle").exists()


def test_a_shape_fills_a_free_dimension(tmp_path: Path) -> None:
    """The contract then has it, and a wrong word is a usage error."""
    bundle = made(tmp_path, KINDS / "rows.tflite", "--shape", "rows=5,3").bundle
    assert bundle.input.tensor.shape == [5, 3]
    for wrong in ("rows", "rows=5,x", "rows=0,3", "=5,3"):
        done = run(KINDS / "rows.tflite", "--out", tmp_path / "x", "--shape", wrong)
        assert done.returncode == 2


def test_without_tensorflow_a_keras_file_is_a_clear_error(tmp_path: Path) -> None:
    """The cure names the extra; a TFLite file needs none."""
    (tmp_path / "net.keras").write_bytes(b"PK")
    code = (
        "import sys; sys.modules['tensorflow'] = None; sys.modules['keras'] = None;"
        "from trainer.cli import main; main()"
    )
    for source, status in ((tmp_path / "net.keras", 1), (TINY, 0)):
        words = ["import", str(source), "--out", str(tmp_path / source.stem)]
        done = subprocess.run(
            [sys.executable, "-c", code, *words],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == status, done.stderr
        assert ("TRAINER-IMPORT-002" in done.stderr) is bool(status)
        assert ("shoal[trainer]" in done.stderr) is bool(status)


def test_a_damaged_keras_file_and_a_wrong_signature_are_said(tmp_path: Path) -> None:
    """TensorFlow's reasons come as one line."""
    (tmp_path / "net.keras").write_bytes(b"no zip file")
    done = run(tmp_path / "net.keras", "--out", tmp_path / "bundle")
    assert done.returncode == 1
    assert "TRAINER-IMPORT-003" in done.stderr
    assert "it is not whole, or no Keras file" in done.stderr
    assert "Traceback" not in done.stderr


def test_tensorflow_s_reasons_lose_the_places_in_its_code() -> None:
    """What is said, and not where; an operation that TFLite lacks by its name."""
    keras = "in user code:\n\n    File x.py, line 3\n\n    ValueError: Exception in F"
    keras += ".call().\n\n    \x1b[1mInvalid input shape\x1b[0m\n\n  Arguments: …"
    assert _first_line(ValueError(keras)) == (
        "ValueError: Exception in F.call(). Invalid input shape"
    )
    mlir = "Could not translate MLIR to FlatBuffer.<unknown>:0: error: loc(callsite("
    mlir += "\"Svd\")): 'tf.Svd' op is neither a custom op nor a flex op\n"
    assert _first_line(RuntimeError(mlir + mlir)) == "TFLite does not have Svd"
    assert _first_line(ValueError(" File not found\nmore")) == "File not found"
    assert _first_line(KeyError()) == "KeyError"


def test_a_bundle_that_nobody_could_read_is_not_written(tmp_path: Path) -> None:
    """Whatever made it: the manifest is read before there is a folder."""
    opened = made(tmp_path, TINY)
    bundle = msgspec.structs.replace(opened.bundle, accuracy=2.0)
    with pytest.raises(DataError, match=r"\$.accuracy") as caught:
        write_bundle(tmp_path / "new", bundle, opened.files)
    assert caught.value.code == "TRAINER-BUNDLE-006"
    assert not (tmp_path / "new").exists()


def test_the_result_can_be_read_by_a_program(tmp_path: Path) -> None:
    """One JSON document on standard output, noise elsewhere."""
    done = run(TINY, "--out", tmp_path / "bundle", "--json")
    facts = json.loads(done.stdout)
    assert (facts["variant"], facts["gate"]["ok"]) == ("imported", True)


@pytest.mark.parametrize(
    ("file", "name"),
    [("My Net (v2).tflite", "my-net-v2"), ("…", "model"), ("x" * 99, "x" * 64)],
)
def test_a_file_gives_a_name_that_may_be_one(file: str, name: str) -> None:
    """Letters that names may have, and not too many."""
    assert name_of(Path(file)) == name


def test_old_bundles_still_have_one_input() -> None:
    """What was written before has no further inputs and tells probabilities."""
    path = Path(__file__).parents[1] / "contract" / "vectors" / "v1" / "Release.json"
    document = json.loads(path.read_text())["bundle"]
    bundle = decode(json.dumps(document).encode(), Bundle)
    assert (len(bundle.inputs), bundle.kind) == (1, AnswerKind.PROBABILITIES)
