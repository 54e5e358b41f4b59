"""Small real releases: a model of the test data, signed into a TUF repository."""

import io
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from edge_agent.runtime.litert import load_model
from edge_agent.sketch.reference import build_reference
from edge_agent.wire.codec import decode, encode_pretty
from edge_agent.wire.control import Assignment, ProbationPolicy
from edge_agent.wire.manifest import (
    BUNDLE_FILE,
    Budget,
    Bundle,
    FileRef,
    GateReport,
    InputContract,
    Provenance,
    Release,
    TensorContract,
    file_target,
    release_target,
)
from edge_agent.wire.profile import Channel, Source
from tests.fakes.tuf_repository import TufRepository, sha256_of

MODEL = Path(__file__).parents[1] / "data" / "tiny.tflite"
SHAPE = (100, 6)
LABELS = [f"move{n}" for n in range(7)]
NAME = "watch"


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeRelease:
    """A release and the bytes of its files by sha256."""

    number: int
    target: str
    artifacts: dict[str, bytes] = field(repr=False)


def model_of(number: int, source: Path = MODEL) -> bytes:
    """Return the model of a release.

    Flatbuffers end where their tables say: padding makes other bytes, and so another
    digest, of the same model.
    """
    return source.read_bytes() + bytes(number)


def samples(
    count: int, seed: int = 5
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return inputs for the model."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, *SHAPE)).astype(np.float32)


BUDGET = Budget()


def make_release(  # noqa: PLR0913 - each makes another kind of release
    repository: TufRepository,
    number: int,
    *,
    source: Path = MODEL,
    golden_shift: float = 0.0,
    labels: list[str] = LABELS,
    budget: Budget = BUDGET,
) -> MadeRelease:
    """Make a release and sign it into the repository.

    Args:
        repository: Where its targets are added.
        number: Its number.
        source: The model's file.
        golden_shift: Added to the golden outputs, to make the self-test fail.
        labels: Names of its classes.
        budget: What a device may spend on it.
    """
    data = source.read_bytes()
    inputs = samples(8)
    real = load_model(data)
    outputs = np.stack([real.predict(x)["probabilities"] for x in inputs])
    golden = io.BytesIO()
    np.savez(
        golden,
        x=inputs,
        probabilities=outputs + np.float32(golden_shift),
        atol=np.float32(1e-3),
    )
    channels = [
        Channel(name="class", source=Source.CLASS, categories=LABELS),
        Channel(name="confidence", source=Source.CONFIDENCE),
    ]
    values = np.column_stack([outputs.argmax(1), outputs.max(1)]).astype(np.float64)
    reference = encode_pretty(build_reference(NAME, channels, values))
    files = {
        "model.tflite": model_of(number, source),
        "reference.json": reference,
        "golden.npz": golden.getvalue(),
    }
    release = _manifest(number, {n: _ref(n, d) for n, d in files.items()}, labels)
    release = replace(release, bundle=replace(release.bundle, budget=budget))
    manifest = encode_pretty(release)
    target = release_target(NAME, number)
    repository.add({target: manifest})
    repository.add({file_target(NAME, number, _ref(n, d)): d for n, d in files.items()})
    blobs = [manifest, *files.values()]
    return MadeRelease(
        number=number, target=target, artifacts={sha256_of(b): b for b in blobs}
    )


def write_bundle(folder: Path, made: MadeRelease) -> Path:
    """Write a release as the bundle folder that it was made of; return the folder."""
    release = next(
        decode(data, Release)
        for data in made.artifacts.values()
        if b'"bundle":' in data
    )
    folder.mkdir(parents=True)
    (folder / BUNDLE_FILE).write_bytes(encode_pretty(release.bundle))
    for file in release.bundle.device_files:
        (folder / file.name).write_bytes(made.artifacts[file.sha256])
    return folder


def assign(made: MadeRelease, device: str, seq: int, url: str) -> Assignment:
    """Return an assignment of a release with a short probation."""
    return Assignment(
        device=device,
        seq=seq,
        release=made.number,
        target=made.target,
        rollout=f"r{made.number}",
        issued_at=time.time(),
        artifacts_url=url,
        probation=ProbationPolicy(min_predictions=10, min_s=0.2, deadline_s=20.0),
    )


def _ref(name: str, data: bytes) -> FileRef:
    return FileRef(name=name, sha256=sha256_of(data), bytes=len(data))


def _manifest(number: int, refs: dict[str, FileRef], labels: list[str]) -> Release:
    absent = FileRef(name="card.md", sha256="0" * 64, bytes=0)
    bundle = Bundle(
        name=NAME,
        task="watch",
        variant="float",
        input=InputContract(tensor=TensorContract(name="x", shape=list(SHAPE))),
        outputs=[TensorContract(name="probabilities", shape=[len(LABELS)])],
        labels=labels,
        model=refs["model.tflite"],
        reference=refs["reference.json"],
        golden=refs["golden.npz"],
        calibration=absent,
        card=absent,
        gate=GateReport(ok=True),
        provenance=Provenance(created_at=1.0),
    )
    return Release(release=number, created_at=1.0, bundle=bundle)
