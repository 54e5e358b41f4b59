"""A device's releases and the samples that it has kept, for paired tests."""

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.evidence.layout import Slot
from edge_agent.evidence.ring_writer import RingWriter, little_bytes, pack_misfit
from edge_agent.runtime.litert import load_model
from edge_agent.runtime.telling import ModelContract, contract_of_model
from edge_agent.sketch.reference import build_reference
from edge_agent.store.artifacts import ArtifactStore
from edge_agent.update.paired_trial import PairedOutcome, Releases, try_paired
from edge_agent.wire.codec import encode
from edge_agent.wire.control import PairedPolicy
from edge_agent.wire.manifest import (
    CONFIDENCE_DROP,
    Bundle,
    FileRef,
    GateReport,
    InputContract,
    Provenance,
    Release,
)
from edge_agent.wire.profile import Channel, Source
from tests.fakes.tuf_repository import sha256_of

DATA = Path(__file__).parents[1] / "data"
TINY = DATA / "tiny.tflite"
LABELS = tuple(f"move{n}" for n in range(7))
AXES, UNITS = 6, 8
RING_BYTES = 4 << 20
POLICY = PairedPolicy()
Windows = NDArray[np.float32]
Given = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A release to write: its model, and what its bundle says of it."""

    model: bytes
    labels: tuple[str, ...] = LABELS
    name: str = "watch"
    drop: float = 0.0


def kept_windows(count: int = 256, seed: int = 6) -> Windows:
    """Return windows on which ``tiny.tflite`` answers with many classes."""
    rng = np.random.default_rng(seed)
    place, spread = rng.normal(size=(2, count, 1, AXES))
    made = place + spread * rng.normal(size=(count, 100, AXES))
    windows: Windows = made.astype(np.float32)
    return windows


def first_weights() -> Windows:
    """Return the first layer of ``tiny.tflite`` as its file has it: (units, inputs)."""
    rng = np.random.default_rng(7)
    first = rng.normal(size=(2 * AXES, UNITS)) * 0.8
    return np.ascontiguousarray(first.T.astype(np.float32))


def second_weights() -> Windows:
    """Return the second layer of ``tiny.tflite`` as its file has it."""
    rng = np.random.default_rng(7)
    rng.normal(size=(2 * AXES, UNITS))
    second = rng.normal(size=(UNITS, len(LABELS)))
    return np.ascontiguousarray(second.T.astype(np.float32))


def with_weights(old: Windows, new: NDArray[Any]) -> bytes:
    """Return ``tiny.tflite`` with one layer's weights in place of another's."""
    data = TINY.read_bytes()
    assert data.count(old.tobytes()) == 1, "the file has other weights"
    return data.replace(old.tobytes(), new.astype(np.float32).tobytes())


def twin() -> bytes:
    """Return an equal model in another file."""
    return TINY.read_bytes() + b"\0"


def constant() -> bytes:
    """Return a model that answers one class to everything."""
    return with_weights(second_weights(), np.zeros_like(second_weights()))


def scrambled(seed: int = 3) -> bytes:
    """Return a model whose class has nothing to do with the window's."""
    rng = np.random.default_rng(seed)
    wild = rng.normal(size=first_weights().shape) * 300
    return with_weights(first_weights(), wild)


def swapped() -> bytes:
    """Return a model that calls every class by the next one's name."""
    return with_weights(second_weights(), np.roll(second_weights(), 1, axis=0))


def make_failing(windows: Windows, every: int) -> Windows:
    """Return windows of which ``failing.tflite`` fails on every so many."""
    made = windows.copy()
    made[::every, :, 0] = 7.0
    return made


def write_release(store: ArtifactStore, number: int, made: Made) -> ModelContract:
    """Make a release of a model; return its contract."""
    contract = contract_of_model(load_model(made.model), made.labels)
    channels = [Channel(name="confidence", source=Source.CONFIDENCE)]
    reference = encode(build_reference(made.name, channels, np.ones((2, 1))))
    bundle = Bundle(
        name=made.name,
        task="watch",
        variant="float",
        input=contract.inputs[0],
        extra_inputs=list(contract.inputs[1:]),
        outputs=list(contract.outputs),
        answer=contract.kind,
        labels=list(contract.labels),
        model=_put(store, "model.tflite", made.model),
        reference=_put(store, "reference.json", reference),
        golden=_put(store, "golden.npz", b"golden"),
        calibration=_put(store, "calibration.npz", b"calibration"),
        card=_put(store, "card.md", b"card"),
        metrics={CONFIDENCE_DROP: made.drop},
        gate=GateReport(ok=True),
        provenance=Provenance(created_at=0.0),
    )
    release = Release(release=number, created_at=0.0, bundle=bundle)
    store.write_release(number, encode(release))
    return contract


def keep(
    inputs: Sequence[InputContract],
    samples: Sequence[Given],
    *,
    stretch: int = 0,
    misfits: Sequence[Given] = (),
) -> int:
    """Return the descriptor of a ring that holds samples of one stream.

    Args:
        inputs: What they fit.
        samples: Arrays by input name, oldest first.
        stretch: How many consecutive ones are kept together (0: single ones, of which
            many lie in between).
        misfits: Inputs that did not fit.
    """
    fd = os.memfd_create("ring", os.MFD_CLOEXEC)
    os.ftruncate(fd, RING_BYTES)
    writer = RingWriter.attach(fd)
    writer.follow(inputs)
    for place, sample in enumerate(samples):
        data = b"".join(little_bytes(sample[one.tensor.name]) for one in inputs)
        writer.write(
            place,
            Slot(
                order=place + 1,
                number=place if stretch else 40 * place,
                stream=1,
                age_s=float(place),
                stretch=1 + place // stretch if stretch else 0,
                data=data,
            ),
        )
    assert writer.layout is not None
    for place, given in enumerate(misfits):
        payload = pack_misfit(writer.layout, given, "shape")
        assert payload is not None
        writer.write_misfit(place, place + 1, payload)
    return fd


def compare(
    folder: Path,
    incumbent: Made,
    candidate: Made,
    keeping: Callable[[Sequence[InputContract]], int],
    policy: PairedPolicy = POLICY,
) -> PairedOutcome:
    """Make two releases, keep samples, and have the real test compare them."""
    store = ArtifactStore(folder)
    contract = write_release(store, 1, incumbent)
    write_release(store, 2, candidate)
    ring = keeping(contract.inputs)
    try:
        outcome = try_paired(
            Releases(state_dir=folder, incumbent=1, candidate=2),
            policy,
            ring=ring,
            interrupted=lambda: False,
        )
    finally:
        if ring >= 0:
            os.close(ring)
    assert outcome is not None
    return outcome


def keeping(windows: Windows, *, stretch: int = 0) -> Callable[..., int]:
    """Return what keeps windows of the input ``x``."""
    samples = [{"x": window} for window in windows]
    return functools.partial(keep, samples=samples, stretch=stretch)


def _put(store: ArtifactStore, name: str, data: bytes) -> FileRef:
    sha256 = sha256_of(data)
    store.path(sha256).write_bytes(data)
    return FileRef(name=name, sha256=sha256, bytes=len(data))
