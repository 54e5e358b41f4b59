"""``trainer run`` end to end, as a process: tiny jobs, real data, real runtime."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge_agent.runtime.litert import load_model
from edge_agent.wire.codec import decode
from edge_agent.wire.manifest import CONFIDENCE_DROP
from edge_agent.wire.profile import ReferenceProfile
from trainer.bundle import OpenBundle, file_ref, read_bundle, write_bundle
from trainer.errors import DataError
from trainer.tasks.watch import LABELS

FORBIDDEN = ("tensorflow", "keras", "numpy", "rich", "sklearn")


def trainer(*args: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    return subprocess.run(
        [sys.executable, "-m", "trainer", *map(str, args)],
        check=False,
        capture_output=True,
        text=True,
        timeout=110,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the fault drill, the quickest job, and return its folder."""
    folder = tmp_path_factory.mktemp("drill")
    job = {
        "id": "drill",
        "task": "watch",
        "name": "watch",
        "out": "bundle",
        "settings": {"shuffle_labels": "yes"},
    }
    (folder / "job.json").write_text(json.dumps(job))
    ended = trainer("run", folder / "job.json", "--json")
    (folder / "stdout").write_text(ended.stdout)
    (folder / "stderr").write_text(ended.stderr)
    assert ended.returncode == 7, ended.stderr
    return folder


@pytest.fixture
def opened(made: Path) -> OpenBundle:
    """Return the drill's bundle, verified."""
    return read_bundle(made / "bundle")


def test_help_is_light() -> None:
    """``trainer --help`` imports no heavy library."""
    code = (
        "import sys\nfrom trainer.cli import cli\n"
        "cli(['--help'], standalone_mode=False)\n"
        f"print([m for m in {FORBIDDEN} if m in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert ended.stdout.splitlines()[-1] == "[]"


def test_a_refused_candidate_exits_with_7_and_is_written(
    made: Path, opened: OpenBundle
) -> None:
    """A drill's bundle is complete and honest; the refusal is told and clean."""
    assert not opened.bundle.gate.ok
    assert opened.bundle.accuracy < 0.5
    assert json.loads((made / "stdout").read_text())["gate"]["ok"] is False
    text = (made / "stderr").read_text()
    assert "TRAINER-GATE-001" in text
    assert "Traceback" not in text
    assert "oneDNN" not in text


def test_progress_rises_to_the_end(made: Path) -> None:
    """Every line is a progress that never falls, and the last one is 1."""
    lines = (made / "progress.jsonl").read_text().splitlines()
    done = [json.loads(line)["done"] for line in lines]
    assert done == sorted(done)
    assert done[-1] == 1.0


def test_golden_outputs_match_on_the_device_runtime(opened: OpenBundle) -> None:
    """The bundle's model, run as a device runs it, answers as it recorded."""
    model = load_model(opened.model)
    outputs = opened.bundle.outputs
    golden = arrays_of(opened, "golden.npz")
    assert golden["x"].shape == (8, 100, 6)
    for x, expected in zip(golden["x"], golden["probabilities"], strict=True):
        said = model.predict(x)
        assert np.allclose(said[outputs[0].name], expected, atol=golden["atol"])
        for output in outputs:
            assert list(said[output.name].shape) == output.shape
    model.close()


def test_reference_and_calibration_fit_each_other(opened: OpenBundle) -> None:
    """Calibration has a column a reference channel, and one block a held-out stream."""
    reference = decode(opened.files["reference.json"], ReferenceProfile)
    names = [channel.name for channel in reference.channels]
    assert names[:2] == ["class", "confidence"]
    assert {"mean.accel_x", "distance", "energy"} <= set(names)
    assert reference.channels[0].categories == list(LABELS)
    calibration = arrays_of(opened, "calibration.npz")
    assert calibration["values"].shape == (len(calibration["group"]), len(names))
    groups = calibration["group"].tolist()
    starts = [b for a, b in zip(["", *groups], groups, strict=False) if a != b]
    assert starts == ["p09-right", "p10-right"]


def test_evaluate_tells_the_recorded_accuracy(made: Path, opened: OpenBundle) -> None:
    """Evaluating a bundle again gives the figures that it carries."""
    ended = trainer("evaluate", made / "bundle", "--arm", "left", "--json")
    scores = json.loads(ended.stdout)
    assert set(scores) == {"left", "p09-left", "p10-left"}
    for name, score in scores.items():
        assert score["accuracy"] == opened.bundle.metrics[f"accuracy.{name}"]


def test_package_makes_a_bundle_of_a_ready_model(
    made: Path, opened: OpenBundle, tmp_path: Path
) -> None:
    """A ready file becomes a bundle with its own records and the same contract."""
    (tmp_path / "other.tflite").write_bytes(opened.model)
    out = tmp_path / "new"
    ended = trainer(
        "package", made / "bundle", "--model", tmp_path / "other.tflite", "--out", out
    )
    assert ended.returncode == 7, ended.stderr
    packed = read_bundle(out)
    assert packed.bundle.variant == "imported"
    assert packed.bundle.outputs == opened.bundle.outputs
    assert packed.files["reference.json"] == opened.files["reference.json"]


@pytest.mark.parametrize(
    "name", ["model.tflite", "golden.npz", "card.md", "calibration.npz"]
)
def test_a_tampered_or_missing_file_is_found(
    made: Path, tmp_path: Path, name: str
) -> None:
    """One other byte, or no file at all, and the bundle is refused."""
    copy = tmp_path / "copy"
    shutil.copytree(made / "bundle", copy)
    data = bytearray((copy / name).read_bytes())
    data[-1] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(DataError) as caught:
        read_bundle(copy)
    assert caught.value.code == "TRAINER-BUNDLE-005"
    (copy / name).unlink()
    with pytest.raises(DataError) as caught:
        read_bundle(copy)
    assert caught.value.code == "TRAINER-BUNDLE-005"


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    """A folder is complete only with its ``bundle.json``."""
    with pytest.raises(DataError) as caught:
        read_bundle(tmp_path)
    assert caught.value.code == "TRAINER-BUNDLE-003"


def test_a_bundle_is_never_overwritten(made: Path, opened: OpenBundle) -> None:
    """Writing where a bundle is fails and leaves nothing behind."""
    before = sorted(path.name for path in made.iterdir())
    with pytest.raises(DataError) as caught:
        write_bundle(made / "bundle", opened.bundle, opened.files)
    assert caught.value.code == "TRAINER-BUNDLE-001"
    assert sorted(path.name for path in made.iterdir()) == before


def test_a_written_bundle_reads_back(opened: OpenBundle, tmp_path: Path) -> None:
    """Writing and reading a bundle changes nothing."""
    write_bundle(tmp_path / "again", opened.bundle, opened.files)
    assert read_bundle(tmp_path / "again") == opened
    assert [path.name for path in tmp_path.iterdir()] == ["again"]


def test_a_retrain_goes_through_every_stage(made: Path, tmp_path: Path) -> None:
    """Samples, teacher, twins, both variants and the incumbent all leave figures."""
    rng = np.random.default_rng(1)
    np.savez(
        tmp_path / "samples.npz",
        x=rng.normal(0, 1, (20, 100, 6)).astype(np.float32),
        label=np.array([LABELS[place % 7] for place in range(20)]),
        group=np.array(["d1"] * 20),
    )
    job = {
        "id": "again",
        "task": "watch",
        "name": "watch",
        "out": "bundle",
        "samples": "samples.npz",
        "incumbent": {"release": 4, "bundle": str(made / "bundle")},
        "settings": {"epochs": "2", "teacher_epochs": "1"},
    }
    (tmp_path / "job.json").write_text(json.dumps(job))
    ended = trainer("run", tmp_path / "job.json")
    assert ended.returncode in {0, 7}, ended.stderr
    bundle = read_bundle(tmp_path / "bundle").bundle
    assert bundle.gate.incumbent == 4
    assert bundle.gate.checks[0].name == "gain"
    assert {
        "trial.plain",
        "trial.distilled",
        "float32.latency_us",
        "int8.agreement",
        "incumbent.left",
        "accuracy.p10-left",
    } <= set(bundle.metrics)
    card = read_bundle(tmp_path / "bundle").files["card.md"].decode()
    assert (CONFIDENCE_DROP in bundle.metrics) is bundle.gate.ok
    assert ("Mean confidence on" in card) is bundle.gate.ok


def finetune(made: Path, folder: Path, scope: str) -> OpenBundle:
    """Go on from the drill's bundle for one epoch; return the new bundle."""
    job = {
        "id": "go-on",
        "task": "watch",
        "name": "watch",
        "out": "bundle",
        "incumbent": {"release": 4, "bundle": str(made / "bundle")},
        "settings": {"epochs": "1", "finetune.scope": scope},
    }
    (folder / "job.json").write_text(json.dumps(job))
    ended = trainer("run", folder / "job.json")
    assert ended.returncode in {0, 7}, ended.stderr
    (folder / "stdout").write_text(ended.stdout)
    return read_bundle(folder / "bundle")


def test_a_finetune_goes_on_from_the_incumbents_weights(
    made: Path, opened: OpenBundle, tmp_path: Path
) -> None:
    """With ``bn_head`` convolutions stay, and a forecast says what devices fetch."""
    again = finetune(made, tmp_path, "bn_head")

    before, after = (arrays_of(one, "weights.npz") for one in (opened, again))
    assert {n: a.shape for n, a in before.items()} == {
        n: a.shape for n, a in after.items()
    }
    kernels = [name for name, array in before.items() if array.ndim == 4]
    assert len(kernels) == 3
    for name, array in before.items():
        assert np.array_equal(array, after[name]) == (
            name in kernels or name in {"w0000", "w0001", "w0002"}
        )
    assert again.bundle.variant == opened.bundle.variant
    metrics = again.bundle.metrics
    assert metrics["delta.bytes"] < 0.3 * again.bundle.model.bytes
    assert (
        f"delta from release 4: {metrics['delta.bytes']:.0f} bytes"
        in (tmp_path / "stdout").read_text()
    )
    card = again.files["card.md"].decode()
    assert "fine-tuned (bn_head) from release 4" in card
    assert "| delta.ratio |" in card


def test_weights_that_do_not_fit_are_no_error(
    made: Path, opened: OpenBundle, tmp_path: Path
) -> None:
    """The net of a task may have changed: it is trained anew, and the card says so."""
    old = tmp_path / "old"
    files = {**opened.files, "weights.npz": b"PK not an archive"}
    weights = file_ref("weights.npz", files["weights.npz"])
    write_bundle(
        old / "bundle", msgspec.structs.replace(opened.bundle, weights=weights), files
    )

    again = finetune(old, tmp_path, "head")

    card = again.files["card.md"].decode()
    assert "trained anew: the incumbent's weights do not fit this net" in card


def test_the_same_job_makes_the_same_bytes(
    made: Path, opened: OpenBundle, tmp_path: Path
) -> None:
    """Converting is repeatable, tensor names and all: only changes make patches."""
    shutil.copy(made / "job.json", tmp_path)
    assert trainer("run", tmp_path / "job.json").returncode == 7
    again = read_bundle(tmp_path / "bundle")
    assert again.model == opened.model
    assert again.files["weights.npz"] == opened.files["weights.npz"]


def test_a_wrong_job_is_a_usage_error(tmp_path: Path) -> None:
    """A job file that does not fit exits with 2 and says why."""
    (tmp_path / "job.json").write_text('{"id": "x", "task": "watch"}')
    ended = trainer("run", tmp_path / "job.json")
    assert ended.returncode == 2
    assert "TRAINER-JOB-001" in ended.stderr
    assert "Traceback" not in ended.stderr


def arrays_of(opened: OpenBundle, name: str) -> dict[str, np.ndarray]:
    """Return the arrays of one of a bundle's npz files."""
    with np.load(io.BytesIO(opened.files[name]), allow_pickle=False) as arrays:
        return dict(arrays)
