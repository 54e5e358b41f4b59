"""From a model file to a bundle folder, so that it can be a factory model.

``python -m edge_agent.alone.wrap MODEL FOLDER [LABELS]`` loads the file with the
device's interpreter, in a process of its own under limits, because a hostile file can
kill it. The contract is what the model itself tells; golden inputs are a few samples
and what the model says to them now; the reference profile is empty: nothing is known
of the data. Nobody tested the model on data, and the bundle's gate says so. The same
file makes the same bundle. It prints one line of JSON and exits with 0 or 1.
"""

import hashlib
import re
import resource
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from edge_agent.base.installed import installed_runtime
from edge_agent.base.regular import read_regular
from edge_agent.class_names import read_class_names
from edge_agent.errors import AgentError, ModelError
from edge_agent.runtime.fit import ask
from edge_agent.runtime.litert import load_model
from edge_agent.runtime.port import Array, Model
from edge_agent.runtime.telling import ModelContract, contract_of_model, trial_samples
from edge_agent.sketch.golden import Golden, write_golden
from edge_agent.store.disk import disk_error, sync_folder, write_durably
from edge_agent.wire.codec import encode, encode_pretty
from edge_agent.wire.manifest import (
    BUNDLE_FILE,
    MAX_ARTIFACT_BYTES,
    Budget,
    Bundle,
    FileRef,
    GateReport,
    Provenance,
)
from edge_agent.wire.profile import ProfileData, ReferenceProfile

MODULE = "edge_agent.alone.wrap"
MEMORY_BYTES = 4 << 30
CPU_S = 120
WAIT_S = 180.0
ROUNDS = 5
MIN_LATENCY_US = 1e6
SLOWER = 20.0
"""A later self-test may take so many times what the model took now."""
ATOL_RATIO = 0.01
_NO_NAME = re.compile(r"[^a-z0-9._-]+")


class Wrapped(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a bundle was made, or why not."""

    ok: bool
    code: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What was found out about a model by asking it."""

    contract: ModelContract
    golden: Golden
    latency_us: float


def wrap(model_file: Path, folder: Path, labels_file: Path | None) -> None:
    """Make a bundle folder of a model file; one that is there is replaced.

    Raises:
        AgentError: The file is no model that can be served, the labels do not fit it,
            or the folder cannot be written.
    """
    try:
        data = read_regular(model_file, MAX_ARTIFACT_BYTES, follow=True)
        made_at = model_file.stat().st_mtime
    except OSError as error:
        raise ModelError("AGENT-ALONE-001", str(error)) from error
    model = load_model(data)
    try:
        known = _find_out(model, read_class_names(labels_file))
    finally:
        model.close()
    part = folder.with_name(folder.name + ".part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        _write(part, data, known, name_of(model_file), made_at)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise disk_error(error) from error


def name_of(model_file: Path) -> str:
    """Return the model's name: the file's, in the letters that names may have."""
    name = _NO_NAME.sub("-", model_file.stem.lower()).strip("-._")
    return name[:64] or "model"


def spawn_wrap(model: Path, folder: Path, labels: Path | None) -> None:
    """Make the bundle in a process of its own.

    Raises:
        ModelError: The process died of the model (``AGENT-ALONE-002``), or says why
            there is no bundle.
    """
    words = [sys.executable, "-m", MODULE, str(model), str(folder)]
    command = [*words, *([str(labels)] if labels else [])]
    try:
        done = subprocess.run(command, capture_output=True, timeout=WAIT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise ModelError(
            "AGENT-ALONE-002", f"{model} did not answer within {WAIT_S:g} s"
        ) from error
    try:
        lines = done.stdout.strip().splitlines()
        told = msgspec.json.decode(lines[-1] if lines else b"", type=Wrapped)
    except msgspec.MsgspecError as error:
        raise ModelError(
            "AGENT-ALONE-002",
            f"{model} ended the process that tried it (status {done.returncode})",
            cure="the file is damaged, or no model for this device",
        ) from error
    if not told.ok:
        raise ModelError(told.code, told.text)


def _find_out(model: Model, labels: tuple[str, ...]) -> _Known:
    contract = contract_of_model(model, labels)
    samples = trial_samples(contract.inputs)
    wanted = [tensor.name for tensor in contract.outputs]
    answers, times = [], []
    for sample in samples * ROUNDS:
        started = time.perf_counter()
        answers.append(ask(model, sample))
        times.append((time.perf_counter() - started) * 1e6)
    golden = Golden(
        inputs={
            one.tensor.name: np.stack([sample[one.tensor.name] for sample in samples])
            for one in contract.inputs
        },
        outputs={
            name: np.stack([answer[name] for answer in answers[: len(samples)]])
            for name in wanted
        },
        atol={},
    )
    for name, values in golden.outputs.items():
        if not np.isfinite(values).all():
            raise ModelError(
                "AGENT-ALONE-003", f"output {name!r} is NaN or infinite on a trial"
            )
        golden.atol[name] = _atol(values)
    return _Known(contract=contract, golden=golden, latency_us=statistics.median(times))


def _atol(values: Array) -> float:
    return 1e-4 + ATOL_RATIO * float(np.abs(values.astype(np.float64)).max(initial=0.0))


def _write(folder: Path, data: bytes, known: _Known, name: str, made_at: float) -> None:
    contract = known.contract
    reference = ReferenceProfile(
        model=name, channels=[], data=ProfileData(rows=0, counts=[])
    )
    card = (
        f"# {name}\n\nMade of a model file by `edge-agent run --model`. Nobody tested"
        " it on data.\n"
    )
    first, *others = contract.inputs
    bundle = Bundle(
        name=name,
        task="alone",
        variant="file",
        input=first,
        extra_inputs=others or msgspec.UNSET,
        outputs=list(contract.outputs),
        answer=contract.kind,
        labels=list(contract.labels),
        model=_put(folder, "model.tflite", data),
        reference=_put(folder, "reference.json", encode(reference)),
        golden=_put(folder, "golden.npz", write_golden(known.golden)),
        calibration=_put(folder, "calibration.npz", b""),
        card=_put(folder, "card.md", card.encode()),
        budget=Budget(
            latency_us=max(MIN_LATENCY_US, SLOWER * known.latency_us),
            rss_bytes=MEMORY_BYTES,
        ),
        gate=GateReport(ok=False),
        provenance=Provenance(
            created_at=made_at, versions={"runtime": installed_runtime()}
        ),
    )
    write_durably(folder / BUNDLE_FILE, encode_pretty(bundle))


def _put(folder: Path, name: str, data: bytes) -> FileRef:
    write_durably(folder / name, data)
    digest = hashlib.sha256(data).hexdigest()
    return FileRef(name=name, sha256=digest, bytes=len(data))


def main(argv: list[str]) -> int:
    """Make a bundle; print what came of it; return the exit code."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    model, folder, *labels = map(Path, argv)
    try:
        wrap(model, folder, labels[0] if labels else None)
        told = Wrapped(ok=True)
    except AgentError as error:
        told = Wrapped(ok=False, code=error.code, text=error.text)
    sys.stdout.write(msgspec.json.encode(told).decode() + "\n")
    return 0 if told.ok else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
