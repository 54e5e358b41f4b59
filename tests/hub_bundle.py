"""A small real bundle around ``tests/data/tiny.tflite``, for tests of the hub."""

from pathlib import Path

import msgspec
import numpy as np

from edge_agent.runtime.litert import load_model
from edge_agent.sketch.channels import extract
from edge_agent.sketch.reference import build_reference
from edge_agent.wire import codec
from edge_agent.wire.manifest import (
    BUNDLE_FILE,
    Bundle,
    FileRef,
    GateCheck,
    GateReport,
    InputContract,
    Provenance,
    TensorContract,
)
from edge_agent.wire.profile import Channel, Source
from hub.files import sha256_of

MODEL = Path(__file__).parent / "data" / "tiny.tflite"
LABELS = [f"move-{place}" for place in range(7)]
SHAPE = (100, 6)
_STREAMS = 4
_ROWS = 120


def make_bundle(
    folder: Path, *, seed: int = 1, gate_ok: bool = True, model_file: Path = MODEL
) -> Path:
    """Write a complete bundle and return its folder; ``seed`` makes it distinct."""
    folder.mkdir(parents=True)
    (folder / "model.tflite").write_bytes(model_file.read_bytes())
    draws = np.random.default_rng(seed)
    samples = draws.normal(size=(8, *SHAPE)).astype(np.float32)
    model = load_model(model_file.read_bytes())
    answers = [model.predict(sample) for sample in samples]
    np.savez(
        folder / "golden.npz",
        x=samples,
        probabilities=np.stack([answer["probabilities"] for answer in answers]),
        atol=np.float32(1e-3),
    )
    channels = _channels()
    rows = draws.normal(size=(_STREAMS * _ROWS, *SHAPE)).astype(np.float32)
    outputs = [model.predict(row) for row in rows]
    model.close()
    values = extract(
        channels,
        rows,
        np.stack([output["probabilities"] for output in outputs]),
        {"embedding": np.stack([output["embedding"] for output in outputs])},
    )
    reference = build_reference("tiny", channels, values)
    (folder / "reference.json").write_bytes(codec.encode(reference))
    np.savez(
        folder / "calibration.npz",
        values=values[:, : len(reference.channels)],
        group=np.repeat([f"p{place}" for place in range(_STREAMS)], _ROWS),
    )
    (folder / "card.md").write_text(f"# tiny, seed {seed}\n", "utf-8")
    write_manifest(folder, gate_ok=gate_ok)
    return folder


def write_manifest(folder: Path, *, gate_ok: bool = True) -> Bundle:
    """Write ``bundle.json`` to fit the files as they are now."""
    bundle = Bundle(
        name="tiny",
        task="watch",
        variant="float",
        input=InputContract(
            tensor=TensorContract(name="window", shape=list(SHAPE)),
            axes=["ax", "ay", "az", "gx", "gy", "gz"],
            rate_hz=50,
            hop=20,
        ),
        outputs=[
            TensorContract(name="probabilities", shape=[7]),
            TensorContract(name="embedding", shape=[8]),
        ],
        labels=LABELS,
        model=_ref(folder, "model.tflite"),
        reference=_ref(folder, "reference.json"),
        golden=_ref(folder, "golden.npz"),
        calibration=_ref(folder, "calibration.npz"),
        card=_ref(folder, "card.md"),
        accuracy=0.75,
        gate=GateReport(
            ok=gate_ok,
            checks=[GateCheck(name="accuracy", ok=gate_ok, observed=0.75, limit=0.5)],
        ),
        provenance=Provenance(created_at=1.0),
    )
    (folder / BUNDLE_FILE).write_bytes(codec.encode_pretty(bundle))
    return bundle


def edit_manifest(folder: Path, **changes: object) -> None:
    """Change fields of ``bundle.json``."""
    path = folder / BUNDLE_FILE
    bundle = codec.decode(path.read_bytes(), Bundle)
    path.write_bytes(codec.encode_pretty(msgspec.structs.replace(bundle, **changes)))


def _channels() -> list[Channel]:
    return [
        Channel(name="class", source=Source.CLASS, categories=LABELS),
        Channel(name="confidence", source=Source.CONFIDENCE),
        *(
            Channel(name=f"mean {axis}", source=Source.INPUT_MEAN, index=axis)
            for axis in range(SHAPE[1])
        ),
        Channel(name="embedding 0", source=Source.OUTPUT, tensor="embedding", index=0),
    ]


def _ref(folder: Path, name: str) -> FileRef:
    path = folder / name
    return FileRef(name=name, sha256=sha256_of(path), bytes=path.stat().st_size)
