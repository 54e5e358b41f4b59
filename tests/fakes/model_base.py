"""A model file, its contract and golden inputs, and releases that are made of it."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from edge_agent.engine import Engine
from edge_agent.pipeline.rows import channel_values
from edge_agent.sketch.golden import Golden, write_golden
from edge_agent.sketch.reference import build_reference
from edge_agent.wire.codec import encode_pretty
from edge_agent.wire.manifest import (
    Bundle,
    FileRef,
    GateReport,
    InputContract,
    Provenance,
    Release,
    TensorContract,
)
from tests.fakes.releases import LABELS, NAME
from tests.fakes.tuf_repository import sha256_of
from tests.fakes.worker_device import CHANNELS

ATOL = 1e-3
LIMIT = 50.0
OUTPUTS = {"probabilities": len(LABELS), "embedding": 8, "energy": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """One good model file with its golden inputs."""

    name: str
    data: bytes = field(repr=False)
    bundle: Bundle = field(repr=False)
    files: dict[str, bytes] = field(repr=False)
    """The release's other files by sha256."""

    def release(self, number: int, model: bytes) -> Release:
        """Return a manifest that vouches for ``model`` in place of this file."""
        bundle = replace(self.bundle, model=_ref("model.tflite", model))
        return Release(release=number, created_at=1.0, bundle=bundle)


def read_base(path: Path) -> Base:
    """Read a model of the test data's or the demo's form."""
    return base_of(path.stem, path.read_bytes())


def base_of(name: str, data: bytes) -> Base:
    """Return what is made of a model file's bytes."""
    engine = Engine(data, labels=LABELS)
    contract = InputContract(
        tensor=TensorContract(name="x", shape=engine.contract.tensor.shape),
        low=-LIMIT,
        high=LIMIT,
    )
    try:
        reference = _reference(engine)
        golden = _golden(engine)
    finally:
        engine.close()
    absent = FileRef(name="card.md", sha256="0" * 64, bytes=0)
    bundle = Bundle(
        name=NAME,
        task="watch",
        variant="any",
        input=contract,
        outputs=[TensorContract(name=n, shape=[size]) for n, size in OUTPUTS.items()],
        labels=LABELS,
        model=_ref("model.tflite", data),
        reference=_ref("reference.json", reference),
        golden=_ref("golden.npz", golden),
        calibration=absent,
        card=absent,
        gate=GateReport(ok=True),
        provenance=Provenance(created_at=1.0),
    )
    files = {sha256_of(d): d for d in (reference, golden)}
    return Base(name=name, data=data, bundle=bundle, files=files)


def _golden(engine: Engine) -> bytes:
    inputs = _inputs(engine, 8)
    made = [engine.predict(x).outputs for x in inputs]
    return write_golden(
        Golden(
            inputs={"x": inputs},
            outputs={name: np.stack([m[name] for m in made]) for name in OUTPUTS},
            atol=dict.fromkeys(OUTPUTS, ATOL),
        )
    )


def _inputs(
    engine: Engine, count: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    shape = (count, *engine.contract.tensor.shape)
    return np.random.default_rng(5).normal(size=shape).astype(np.float32)


def _reference(engine: Engine) -> bytes:
    rows = [channel_values(CHANNELS, engine.predict(x)) for x in _inputs(engine, 64)]
    return encode_pretty(build_reference(NAME, CHANNELS, np.stack(rows)))


def _ref(name: str, data: bytes) -> FileRef:
    return FileRef(name=name, sha256=sha256_of(data), bytes=len(data))
