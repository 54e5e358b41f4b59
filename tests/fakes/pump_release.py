"""A release that tells no classes: two inputs, two outputs, no drift channels."""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_agent.runtime.litert import load_model
from edge_agent.sketch.golden import Golden, write_golden
from edge_agent.store.artifacts import ArtifactStore
from edge_agent.wire.codec import encode
from edge_agent.wire.manifest import (
    AnswerKind,
    Bundle,
    FileRef,
    GateReport,
    InputContract,
    Provenance,
    Release,
    TensorContract,
)
from edge_agent.wire.profile import ProfileData, ReferenceProfile

MODEL = Path(__file__).parents[1] / "data" / "kinds" / "pump.tflite"
Sample = dict[str, NDArray[np.float32]]


def pump_sample(seed: int = 1) -> Sample:
    """Return one sample."""
    rng = np.random.default_rng(seed)
    flow = rng.normal(size=4).astype(np.float32)
    return {"flow": flow, "level": rng.uniform(0, 2, 1).astype(np.float32)}


def pump_golden(count: int = 4, *, shift: float = 0.0) -> Golden:
    """Return golden inputs; ``shift`` makes their answers wrong."""
    model = load_model(MODEL.read_bytes())
    samples = [pump_sample(seed) for seed in range(count)]
    answers = [model.predict_named(sample) for sample in samples]
    model.close()
    return Golden(
        inputs={
            name: np.stack([sample[name] for sample in samples]) for name in samples[0]
        },
        outputs={
            name: np.stack([answer[name] for answer in answers]) + np.float32(shift)
            for name in answers[0]
        },
        atol={"load": 1e-3, "states": 1e-3},
    )


def put_pump_release(store: ArtifactStore, number: int, *, shift: float = 0.0) -> None:
    """Put the release where the update side would have put it."""

    def put(name: str, data: bytes) -> FileRef:
        sha256 = hashlib.sha256(data).hexdigest()
        store.path(sha256).write_bytes(data)
        return FileRef(name=name, sha256=sha256, bytes=len(data))

    reference = ReferenceProfile(
        model="pump", channels=[], data=ProfileData(rows=0, counts=[])
    )
    bundle = Bundle(
        name="pump",
        task="pump",
        variant="float32",
        input=InputContract(tensor=TensorContract(name="flow", shape=[4])),
        extra_inputs=[InputContract(tensor=TensorContract(name="level", shape=[1]))],
        outputs=[
            TensorContract(name="load", shape=[1]),
            TensorContract(name="states", shape=[3]),
        ],
        answer=AnswerKind.VALUES,
        model=put("model.tflite", MODEL.read_bytes()),
        reference=put("reference.json", encode(reference)),
        golden=put("golden.npz", write_golden(pump_golden(shift=shift))),
        calibration=put("calibration.npz", b"calibration"),
        card=put("card.md", b"card"),
        gate=GateReport(ok=True),
        provenance=Provenance(created_at=0.0),
    )
    release = Release(release=number, created_at=0.0, bundle=bundle)
    store.write_release(number, encode(release))
