"""Releases of models of many kinds, as the update side would have put them."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine import Engine
from edge_agent.pipeline.rows import channel_values
from edge_agent.runtime.litert import load_model
from edge_agent.runtime.telling import ModelContract, contract_of_model
from edge_agent.sketch.choice import choose_channels
from edge_agent.sketch.reference import build_reference
from edge_agent.store.artifacts import ArtifactStore
from edge_agent.wire.codec import encode
from edge_agent.wire.manifest import (
    Bundle,
    FileRef,
    GateReport,
    InputContract,
    Provenance,
    Release,
)

KINDS = Path(__file__).parents[1] / "data" / "kinds"


def draw_samples(contract: ModelContract, count: int) -> list[dict[str, NDArray[Any]]]:
    """Return samples of a model by the names of its inputs, the same at every call."""
    rng = np.random.default_rng(8)
    return [
        {one.tensor.name: _draw(one, rng) for one in contract.inputs}
        for _ in range(count)
    ]


def write_kind(store: ArtifactStore, number: int, kind: str) -> ModelContract:
    """Make ``tests/data/kinds/KIND.tflite`` a release; return its contract."""
    model = (KINDS / f"{kind}.tflite").read_bytes()
    contract = contract_of_model(load_model(model), ())
    channels = choose_channels(contract.inputs, contract.outputs, contract.labels)
    engine = Engine(model)
    rows = [
        channel_values(channels, engine.predict(one))
        for one in draw_samples(contract, 32)
    ]
    reference = build_reference(kind, channels, np.stack(rows))
    bundle = Bundle(
        name=kind,
        task="kinds",
        variant="float",
        input=contract.inputs[0],
        extra_inputs=list(contract.inputs[1:]),
        outputs=list(contract.outputs),
        answer=contract.kind,
        labels=list(contract.labels),
        model=_put(store, "model.tflite", model),
        reference=_put(store, "reference.json", encode(reference)),
        golden=_put(store, "golden.npz", b"golden"),
        calibration=_put(store, "calibration.npz", b"calibration"),
        card=_put(store, "card.md", b"card"),
        gate=GateReport(ok=True),
        provenance=Provenance(created_at=0.0),
    )
    release = Release(release=number, created_at=0.0, bundle=bundle)
    store.write_release(number, encode(release))
    return contract


def _put(store: ArtifactStore, name: str, data: bytes) -> FileRef:
    sha256 = hashlib.sha256(data).hexdigest()
    store.path(sha256).write_bytes(data)
    return FileRef(name=name, sha256=sha256, bytes=len(data))


def _draw(contract: InputContract, rng: np.random.Generator) -> NDArray[Any]:
    tensor = contract.tensor
    drawn: NDArray[Any] = np.asarray(rng.normal(size=tensor.shape) * 3)
    if tensor.dtype == "bool":
        return drawn > 0
    return drawn.astype(tensor.dtype)
