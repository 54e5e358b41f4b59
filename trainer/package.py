"""A ready TFLite file under an existing bundle's contract becomes a bundle.

For models made elsewhere. Nothing is believed of the file: reference, golden outputs,
calibration, figures and gate are all measured anew with the device's runtime.
"""

from pathlib import Path

import msgspec

from edge_agent.base.clock import Clock
from edge_agent.base.regular import read_regular
from edge_agent.wire.manifest import MAX_ARTIFACT_BYTES, Bundle, TensorContract
from trainer.bundle import read_bundle, refuse_existing
from trainer.candidate import Candidate, Context, make_bundle
from trainer.errors import DataError
from trainer.gate.evaluate import by_segment, outputs_of, runtime, score_bundle
from trainer.gate.verdict import Score
from trainer.tasks.registry import open_task

VARIANT = "imported"


def package(folder: Path, model: Path, out: Path, clock: Clock) -> Bundle:
    """Make a bundle at ``out`` of ``model`` under the contract of ``folder``.

    Raises:
        DataError: The bundle is not intact, the model cannot be read
            (``TRAINER-PACKAGE-001``) or has no output that could be the probabilities
            (``-002``).
        ShoalError: The device's runtime refuses the model.
    """
    refuse_existing(out)
    base = read_bundle(folder)
    try:
        data = read_regular(model, MAX_ARTIFACT_BYTES, follow=True)
    except OSError as error:
        raise DataError("TRAINER-PACKAGE-001", f"{model}: {error}") from error
    task = open_task(base.bundle.task, base.bundle.provenance.settings)
    corpus = task.load()
    outputs = _outputs(base.bundle, data)
    versions = {"runtime": runtime(), "base": base.bundle.variant}
    candidate = Candidate(
        name=base.bundle.name,
        model=data,
        variant=VARIANT,
        outputs=outputs,
        reason=f"imported file, packaged under the contract of {base.bundle.name}",
        base=None,
        metrics={},
        provenance=msgspec.structs.replace(
            base.bundle.provenance,
            created_at=clock.wall(),
            versions=versions,
            data={**corpus.digests, "base model": base.bundle.model.sha256},
        ),
    )
    context = Context(
        task=task,
        corpus=corpus,
        known=corpus.train.x,
        judged=task.segments if base.bundle.gate.incumbent else task.trained_segments,
    )
    return make_bundle(candidate, context, out)


def evaluate_bundle(folder: Path, segment: str) -> dict[str, Score]:
    """Score a bundle on its task's gate people, by segment and by group.

    Args:
        folder: The bundle.
        segment: Only this one; empty for all.

    Raises:
        DataError: The bundle is not intact, or there is no such segment
            (``TRAINER-GATE-002``).
    """
    opened = read_bundle(folder)
    task = open_task(opened.bundle.task, opened.bundle.provenance.settings)
    if segment and segment not in task.segments:
        raise DataError(
            "TRAINER-GATE-002",
            f"there is no segment {segment!r}",
            cure=f"known: {', '.join(task.segments)}",
        )
    blocks = [b for b in task.load().gate if segment in ("", b.segment)]
    groups = score_bundle(opened.bundle, opened.model, task.labels, blocks)
    return {**by_segment(groups, blocks), **groups}


def _outputs(base: Bundle, model: bytes) -> tuple[TensorContract, ...]:
    """Return the base's outputs that the file has, probabilities first.

    A file with a single output of the right width needs no name for it.
    """
    found = {spec.name: list(spec.shape) for spec in outputs_of(model)}
    wanted = base.outputs[0]
    name = wanted.name if wanted.name in found else next(iter(found))
    if found[name] != wanted.shape or (name != wanted.name and len(found) > 1):
        raise DataError(
            "TRAINER-PACKAGE-002",
            f"the model has no output {wanted.name!r} of shape {wanted.shape}",
            cure=f"its outputs are {found}; name one so in its signature",
        )
    first = msgspec.structs.replace(wanted, name=name)
    others = [o for o in base.outputs[1:] if found.get(o.name) == o.shape]
    return (first, *others)
