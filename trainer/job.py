"""One job from file to bundle: data, training, conversion, choice, gate, bundle.

The composition root of ``trainer run``. The job's settings decide everything; the same
job on the same machine makes the same model.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from edge_agent.base.clock import Clock
from edge_agent.base.regular import read_regular
from edge_agent.wire.codec import MAX_DOCUMENT_BYTES, decode
from edge_agent.wire.errors import WireError
from edge_agent.wire.job import Job
from edge_agent.wire.manifest import Bundle, Provenance
from trainer.bundle import read_bundle, refuse_existing
from trainer.candidate import Candidate, Context, make_bundle
from trainer.errors import JobError
from trainer.finetune import Rival, find_start
from trainer.gate.choice import Variant, choose
from trainer.gate.evaluate import agreement, ask, latencies_us, runtime
from trainer.native_output import native_output_to
from trainer.pipeline.dataset import (
    TrainingSet,
    assemble,
    read_samples,
    shuffle_labels,
)
from trainer.pipeline.session import NATIVE_LOG, start_tensorflow, versions
from trainer.progress import Listener, ProgressLog
from trainer.settings import Settings
from trainer.tasks.registry import open_task
from trainer.tasks.task import Floats, Task

if TYPE_CHECKING:
    from trainer.pipeline.convert import Converted
    from trainer.pipeline.distil import Trial

TEACHER_EPOCHS = 10
LEARNING_RATE, FULL_FINETUNE_RATE = 0.003, 0.0003
FLOAT, INT8 = "float32", "int8"
_COMPARED = 600

Report = Callable[[str, float, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a job's settings come to."""

    epochs: int
    learning_rate: float
    teacher_epochs: int
    variants: tuple[str, ...]


def plan_of(settings: Settings, *, retrain: bool, goes_on: bool = False) -> Plan:
    """Return the plan: a drill is one plain epoch, a retrain has no teacher.

    ``goes_on``: the net has the incumbent's weights already.
    """
    rate = settings.learning_rate
    if rate is None:
        full = goes_on and settings.finetune_scope == "full"
        rate = FULL_FINETUNE_RATE if full else LEARNING_RATE
    drill = settings.shuffle_labels == "yes"
    teacher_epochs = settings.teacher_epochs
    if teacher_epochs is None:
        teacher_epochs = 0 if retrain else TEACHER_EPOCHS
    return Plan(
        epochs=1 if drill else settings.epochs,
        learning_rate=rate,
        teacher_epochs=0 if drill else teacher_epochs,
        variants=(FLOAT,) if drill else (FLOAT, INT8),
    )


def read_job(path: Path) -> Job:
    """Read a job file.

    Raises:
        JobError: It is missing or not a job (``TRAINER-JOB-001``).
    """
    try:
        return decode(read_regular(path, MAX_DOCUMENT_BYTES, follow=True), Job)
    except (OSError, WireError) as error:
        raise JobError("TRAINER-JOB-001", f"{path}: {error}") from error


def run_job(path: Path, clock: Clock, listener: Listener) -> tuple[Bundle, Path]:
    """Carry out a job; the bundle is written whether or not the gate passes it.

    Raises:
        JobError: The job file cannot be carried out.
        DataError: Data, samples or the incumbent's bundle are not what they should be.
    """
    job, folder = read_job(path), path.resolve().parent
    out = folder / job.out
    refuse_existing(out)
    task = open_task(job.task, job.settings)
    report = ProgressLog(folder, clock, listener).report
    report("data", 0.0, f"loading task {task.name}")
    rival = _read_rival(job, folder)
    corpus = task.load()
    samples = read_samples(folder / job.samples, task) if job.samples else None
    data = assemble(corpus.train, samples)
    with native_output_to(folder / NATIVE_LOG):
        judged = task.segments if rival else task.trained_segments
        order = _Order(
            job=job,
            task=task,
            data=data,
            held_out=np.concatenate([b.x for b in corpus.gate if b.segment in judged]),
            digests=corpus.digests,
            rival=rival,
        )
        candidate = _train(order, clock, report)
        report("gate", 0.94, "measuring with the device's runtime")
        context = Context(
            task=task,
            corpus=corpus,
            known=data.x,
            judged=judged,
            rival=rival,
        )
        bundle = make_bundle(candidate, context, out)
    report("done", 1.0, "passed the gate" if bundle.gate.ok else "refused by the gate")
    return bundle, out


def _read_rival(job: Job, folder: Path) -> Rival | None:
    if job.incumbent is None:
        return None
    return Rival(
        release=job.incumbent.release,
        opened=read_bundle(folder / job.incumbent.bundle),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """A job with what was read for it."""

    job: Job
    task: Task
    data: TrainingSet
    held_out: Floats
    digests: dict[str, str]
    rival: Rival | None


def _train(order: _Order, clock: Clock, report: Report) -> Candidate:
    job, task, data = order.job, order.task, order.data
    report("start", 0.02, "starting TensorFlow")
    start_tensorflow(job.seed)
    from trainer.pipeline.convert import convert
    from trainer.pipeline.distil import fit_student
    from trainer.pipeline.start import pack_weights
    from trainer.pipeline.train import Fitter, Recipe

    start, why_not = find_start(task.settings, order.rival)
    student = Fitter(task, task.student, data.x, start)
    goes_on = start is not None and not student.problem
    plan = plan_of(task.settings, retrain=order.rival is not None, goes_on=goes_on)
    report("train", 0.25, f"training on {len(data)} samples")
    labelled = data
    if task.settings.shuffle_labels == "yes":
        labelled = shuffle_labels(data, np.random.default_rng(job.seed))
    trial = fit_student(
        student,
        labelled,
        Recipe(epochs=plan.epochs, learning_rate=plan.learning_rate, seed=job.seed),
        plan.teacher_epochs,
        lambda done: report("train", 0.25 + 0.5 * done, ""),
    )
    how = _explain(trial)
    if order.rival is not None and goes_on:
        scope = task.settings.finetune_scope
        how += f", fine-tuned ({scope}) from release {order.rival.release}"
    elif why_not or student.problem:
        how += f", trained anew: {why_not or student.problem}"
    report("convert", 0.76, how)
    converted = convert(task, student.model, data.x, plan.variants)
    report("choose", 0.9, "comparing variants on the device's runtime")
    made = _made(order, plan, clock, trial, how)
    keep = order.rival.opened.bundle.variant if order.rival and goes_on else ""
    return _choose(order, converted, made, keep, pack_weights(student.model))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """How the student came about."""

    metrics: dict[str, float]
    text: str
    provenance: Provenance


def _made(
    order: _Order, plan: Plan, clock: Clock, trial: "Trial | None", how: str
) -> _Made:
    settings = msgspec.to_builtins(order.task.settings)
    settings["learning_rate"] = plan.learning_rate
    metrics = {}
    if trial is not None:
        metrics = {
            "trial.teacher": round(trial.teacher, 4),
            "trial.plain": round(trial.plain, 4),
            "trial.distilled": round(trial.distilled, 4),
        }
    return _Made(
        metrics=metrics,
        text=how,
        provenance=Provenance(
            created_at=clock.wall(),
            data=order.digests,
            seeds={"job": order.job.seed},
            versions={
                **versions(),
                "runtime": runtime(),
                "shoal": shoal_version(),
            },
            settings={k: str(v) for k, v in settings.items() if v is not None},
        ),
    )


def shoal_version() -> str:
    """Return Shoal's version; "source" where it is run without being installed."""
    try:
        return version("shoal")
    except PackageNotFoundError:
        return "source"


def _explain(trial: "Trial | None") -> str:
    if trial is None:
        return "plainly trained student"
    way = "distilled" if trial.distil else "plainly trained"
    return (
        f"{way} student: on {trial.held_out} teacher {trial.teacher:.3f}, "
        f"distilled {trial.distilled:.3f}, plain twin {trial.plain:.3f}"
    )


def _choose(
    order: _Order, converted: "Converted", made: _Made, keep: str, weights: bytes
) -> Candidate:
    data = order.data
    places = np.linspace(0, len(data) - 1, min(len(data), _COMPARED)).astype(int)
    x, y = data.x[places], data.y[places]
    latency = latencies_us(converted.files, x)
    first = converted.outputs[0].name
    answers = {name: ask(file, x, first) for name, file in converted.files.items()}
    held = {
        name: ask(file, order.held_out, first) for name, file in converted.files.items()
    }
    variants = {
        name: Variant(
            name=name,
            bytes=len(file),
            accuracy=float((answers[name].probabilities.argmax(axis=1) == y).mean()),
            agreement=agreement(answers[name], answers[FLOAT]),
            latency_us=latency[name],
            held_agreement=agreement(held[name], held[FLOAT]),
        )
        for name, file in converted.files.items()
    }
    others = tuple(v for name, v in variants.items() if name != FLOAT)
    choice = choose(variants[FLOAT], others, keep)
    table = {
        f"{v.name}.{key}": round(float(value), 4)
        for v in variants.values()
        for key, value in (
            ("bytes", v.bytes),
            ("train_accuracy", v.accuracy),
            ("agreement", v.agreement),
            ("held_agreement", v.held_agreement),
            ("latency_us", v.latency_us),
        )
    }
    return Candidate(
        name=order.job.name,
        model=converted.files[choice.variant],
        variant=choice.variant,
        outputs=converted.outputs,
        reason=f"{made.text}; {choice.reason}",
        base=None if choice.variant == FLOAT else converted.files[FLOAT],
        weights=weights,
        metrics={**made.metrics, **table},
        provenance=made.provenance,
    )
