"""A model made elsewhere becomes a bundle; ``trainer import`` calls this.

TensorFlow is loaded for SavedModel folders and Keras files only. Whatever the file
claims, the device's interpreter has the word.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from edge_agent.base.clock import Clock
from edge_agent.base.installed import installed_runtime
from edge_agent.base.regular import read_regular
from edge_agent.sketch.golden import write_golden
from edge_agent.wire.codec import encode_pretty
from edge_agent.wire.manifest import (
    Budget,
    Bundle,
    GateCheck,
    GateReport,
    Provenance,
)
from trainer.bundle import (
    CALIBRATION,
    CARD,
    GOLDEN,
    MODEL,
    REFERENCE,
    file_ref,
    refuse_existing,
    write_bundle,
)
from trainer.errors import DataError
from trainer.gate.foreign import ModelContract, Told, ask_all, look_at, trial_arrays
from trainer.imports.card import Facts, write_card
from trainer.imports.given import check_given, check_shapes
from trainer.imports.read import SEED, Foreign, name_of, read_labels, read_model
from trainer.imports.records import Records, record
from trainer.imports.samples import MAX_FILE_BYTES, Samples, read_samples

VARIANT = "imported"
SLOWER = 20.0
"""A device may take so many times what this machine takes."""
MAX_OUTPUTS = 16


def import_model(foreign: Foreign, out: Path, clock: Clock) -> Bundle:
    """Make a bundle of a model.

    Raises:
        DataError: The model, its labels or its samples cannot be used
            (``TRAINER-IMPORT-…``), or ``out`` is taken.
        ShoalError: No device can run the model.
    """
    refuse_existing(out)
    name = foreign.name or name_of(foreign.source)
    check_given(foreign, name)
    labels = read_labels(foreign.labels)
    data, versions = read_model(foreign)
    contract = _limited(look_at(data, labels, foreign.shapes), foreign)
    check_shapes(foreign.shapes, contract.inputs)
    samples = None
    if foreign.samples is not None:
        samples = read_samples(foreign.samples, contract.inputs)
    arrays = trial_arrays(contract) if samples is None else samples.arrays
    told = ask_all(data, contract, arrays)
    records = record(name, contract, arrays, told, samples)
    gate = _gate(contract, told, samples)
    metrics = {check.name: check.observed for check in gate.checks}
    if samples is not None:
        metrics |= {"samples": len(samples), "left_out": samples.left_out}
    provenance = _provenance(foreign, data, versions, clock.wall())
    facts = Facts(
        name=name,
        contract=contract,
        rows=records.reference.data.rows,
        metrics=metrics,
        provenance=provenance,
    )
    files = {MODEL: data, CARD: write_card(facts).encode(), **_files(records)}
    first, *others = contract.inputs
    bundle = Bundle(
        name=name,
        task=foreign.task or name,
        variant=VARIANT,
        input=first,
        extra_inputs=others or msgspec.UNSET,
        outputs=list(contract.outputs),
        answer=contract.kind,
        labels=list(contract.labels),
        model=file_ref(MODEL, data),
        reference=file_ref(REFERENCE, files[REFERENCE]),
        golden=file_ref(GOLDEN, files[GOLDEN]),
        calibration=file_ref(CALIBRATION, files[CALIBRATION]),
        card=file_ref(CARD, files[CARD]),
        budget=Budget(latency_us=_budget_us(told.latency_us)),
        metrics=metrics,
        accuracy=metrics.get("accuracy", 0.0),
        gate=gate,
        provenance=provenance,
    )
    write_bundle(out, bundle, files)
    return bundle


def _limited(contract: ModelContract, foreign: Foreign) -> ModelContract:
    """Return the contract with what only a person can know of the inputs."""
    inputs = []
    for place, one in enumerate(contract.inputs):
        changes: dict[str, object] = {}
        if one.tensor.dtype.startswith("float"):
            limits = {"low": foreign.low, "high": foreign.high}
            changes |= {key: v for key, v in limits.items() if v is not None}
        if place == 0:
            changes |= {"rate_hz": foreign.rate_hz, "hop": foreign.hop}
            changes["flat_rows"] = foreign.flat_rows or msgspec.UNSET
            changes["axes"] = _axes(one.tensor.shape, foreign.axes)
        inputs.append(msgspec.structs.replace(one, **changes))
    for tensor in (*(one.tensor for one in inputs), *contract.outputs):
        if len(tensor.name) > 128 or len(tensor.shape) > 8:  # noqa: PLR2004 - the wire's
            raise DataError(
                "TRAINER-IMPORT-008",
                f"tensor {tensor.name[:40]!r}… has a name of over 128 characters, or"
                " over 8 axes",
                cure="export the model with a signature",
            )
    return ModelContract(
        inputs=tuple(inputs),
        outputs=contract.outputs[:MAX_OUTPUTS],
        kind=contract.kind,
        labels=contract.labels,
    )


def _axes(shape: Sequence[int], axes: tuple[str, ...]) -> list[str]:
    if axes and len(axes) != (shape[-1] if shape else 1):
        raise DataError(
            "TRAINER-IMPORT-009",
            f"{len(axes)} names for the last axis of an input of shape {list(shape)}",
        )
    return list(axes)


def _gate(contract: ModelContract, told: Told, samples: Samples | None) -> GateReport:
    checks = [
        GateCheck(
            name="latency_us",
            ok=True,
            observed=told.latency_us,
            limit=_budget_us(told.latency_us),
            n=len(told.probabilities),
        )
    ]
    if samples is not None and samples.label.size and contract.labels:
        labels = np.array(contract.labels)[told.probabilities.argmax(axis=1)]
        # Labels may be written as names or as numbers of classes.
        numbers = told.probabilities.argmax(axis=1).astype(np.str_)
        right = (labels == samples.label) | (numbers == samples.label)
        chance = 1 / len(contract.labels)
        accuracy = round(float(right.mean()), 4)
        checks.append(
            GateCheck(
                name="accuracy",
                ok=accuracy > chance,
                observed=accuracy,
                limit=round(chance, 4),
                n=len(samples),
                detail="on the given samples, which it may have been trained on",
            )
        )
    return GateReport(ok=all(check.ok for check in checks), checks=checks)


def _budget_us(latency_us: float) -> float:
    return max(Budget().latency_us, SLOWER * latency_us)


def _files(records: Records) -> dict[str, bytes]:
    return {
        REFERENCE: encode_pretty(records.reference),
        GOLDEN: write_golden(records.golden),
        CALIBRATION: records.calibration,
    }


def _bytes(path: Path) -> bytes:
    return read_regular(path, MAX_FILE_BYTES, follow=True)


def _provenance(
    foreign: Foreign, model: bytes, versions: dict[str, str], now: float
) -> Provenance:
    data = {"model": hashlib.sha256(model).hexdigest()}
    if foreign.source.is_file():
        data["source"] = hashlib.sha256(_bytes(foreign.source)).hexdigest()
    if foreign.samples is not None:
        data["samples"] = hashlib.sha256(_bytes(foreign.samples)).hexdigest()
    settings = {"file": foreign.source.name[:256]}
    if foreign.signature:
        settings["signature"] = foreign.signature[:256]
    return Provenance(
        created_at=now,
        data=data,
        seeds={"trials": SEED},
        versions={"runtime": installed_runtime(), **versions},
        settings=settings,
    )
