"""From a TFLite file to a bundle: measured, judged, recorded, written.

The second half of every job and the whole of ``trainer package``; needs no TensorFlow.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from msgspec import UNSET

from edge_agent.wire.codec import encode_pretty
from edge_agent.wire.manifest import (
    CONFIDENCE_DROP,
    Budget,
    Bundle,
    GateReport,
    Provenance,
    TensorContract,
)
from trainer.bundle import (
    CALIBRATION,
    CARD,
    GOLDEN,
    MODEL,
    REFERENCE,
    WEIGHTS,
    file_ref,
    write_bundle,
)
from trainer.card import Facts, write_card
from trainer.finetune import Rival, forecast
from trainer.gate.confidence import (
    Confidence,
    describe_drop,
    mean_confidence,
    publish_drop,
)
from trainer.gate.evaluate import (
    agreement,
    ask,
    by_segment,
    latencies_us,
    score_blocks,
    score_bundle,
)
from trainer.gate.verdict import Evidence, Limits, Score, judge
from trainer.reference import Subject, channels_of, record
from trainer.tasks.task import Block, Corpus, Floats, Task

ATOL_FLOAT = 1e-4
ATOL_OTHER = 0.05
"""Golden probabilities may differ by this on other processors; int8 kernels more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A TFLite file that wants to be a release, and what is known of it.

    ``base`` is its float variant, where the file is another one; ``weights`` is the net
    that it was converted from. ``metrics`` and ``reason`` tell how it was made and go
    into the bundle as they are.
    """

    name: str
    model: bytes
    variant: str
    outputs: tuple[TensorContract, ...]
    reason: str
    base: bytes | None
    weights: bytes | None = None
    metrics: Mapping[str, float]
    provenance: Provenance


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Against what a candidate is measured.

    ``known`` are the samples of the reference; ``judged`` the segments that count.
    """

    task: Task
    corpus: Corpus
    known: Floats
    judged: tuple[str, ...]
    rival: Rival | None = None


def make_bundle(candidate: Candidate, context: Context, out: Path) -> Bundle:
    """Measure and judge a candidate, and write its bundle, refused or not.

    Raises:
        DataError: The bundle cannot be written.
        ShoalError: The device's runtime cannot run the model.
    """
    task, blocks = context.task, context.corpus.gate
    groups = score_blocks(
        candidate.model,
        task.labels,
        task.labels,
        probabilities=candidate.outputs[0].name,
        blocks=blocks,
    )
    segments = by_segment(groups, blocks)
    judged = {name: segments[name] for name in context.judged}
    rival = _rival_scores(context)
    latency_us = latencies_us({"": candidate.model}, blocks[0].x)[""]
    gate = _judge(candidate, context, (judged, rival), latency_us)
    confidence = _confidence(candidate, context)
    drop = publish_drop(confidence, passed=gate.ok)
    metrics = {
        **candidate.metrics,
        **_accuracies("accuracy", {**segments, **groups}),
        **_accuracies("incumbent", rival or {}),
        "latency_us": latency_us,
        **(forecast(context.rival, candidate.model) if context.rival else {}),
        **({} if drop is None else {CONFIDENCE_DROP: drop}),
    }
    files = _files(candidate, context)
    files[CARD] = write_card(
        Facts(
            name=candidate.name,
            task=task,
            variant=candidate.variant,
            reason=candidate.reason,
            metrics=metrics,
            gate=gate,
            notes=(
                ()
                if confidence is None or drop is None
                else (describe_drop(confidence, drop),)
            ),
            provenance=candidate.provenance,
        )
    ).encode()
    bundle = _manifest(candidate, task, files, (metrics, _mean(judged), gate))
    write_bundle(out, bundle, files)
    return bundle


def _manifest(
    candidate: Candidate,
    task: Task,
    files: Mapping[str, bytes],
    verdict: tuple[dict[str, float], float, GateReport],
) -> Bundle:
    metrics, accuracy, gate = verdict
    return Bundle(
        name=candidate.name,
        task=task.name,
        variant=candidate.variant,
        input=task.contract,
        outputs=list(candidate.outputs),
        labels=list(task.labels),
        model=file_ref(MODEL, files[MODEL]),
        reference=file_ref(REFERENCE, files[REFERENCE]),
        golden=file_ref(GOLDEN, files[GOLDEN]),
        calibration=file_ref(CALIBRATION, files[CALIBRATION]),
        card=file_ref(CARD, files[CARD]),
        weights=file_ref(WEIGHTS, files[WEIGHTS]) if WEIGHTS in files else UNSET,
        metrics=metrics,
        accuracy=accuracy,
        gate=gate,
        provenance=candidate.provenance,
    )


def _mean(scores: Mapping[str, Score]) -> float:
    return round(sum(score.accuracy for score in scores.values()) / len(scores), 4)


def _judge(
    candidate: Candidate,
    context: Context,
    scores: tuple[dict[str, Score], dict[str, Score] | None],
    latency_us: float,
) -> GateReport:
    contract = context.task.contract
    return judge(
        Evidence(
            candidate=scores[0],
            incumbent=scores[1],
            incumbent_release=context.rival.release if context.rival else 0,
            agreement=_agreement(candidate, context),
            latency_us=latency_us,
            overlap=contract.tensor.shape[0] / contract.hop if contract.hop else 1.0,
        ),
        Limits(latency_us=Budget().latency_us),
    )


def _agreement(candidate: Candidate, context: Context) -> float | None:
    if candidate.base is None:
        return None
    x = np.concatenate([block.x for block in _held_out(context)])
    name = candidate.outputs[0].name
    return agreement(ask(candidate.model, x, name), ask(candidate.base, x, name))


def _held_out(context: Context) -> list[Block]:
    return [b for b in context.corpus.gate if b.segment in context.judged]


def _rival_scores(context: Context) -> dict[str, Score] | None:
    if context.rival is None:
        return None
    opened = context.rival.opened
    blocks = _held_out(context)
    groups = score_bundle(opened.bundle, opened.model, context.task.labels, blocks)
    return by_segment(groups, blocks)


def _confidence(candidate: Candidate, context: Context) -> Confidence | None:
    """Return both models' mean confidence on the same samples, if there is a rival."""
    if context.rival is None:
        return None
    opened = context.rival.opened
    x = np.concatenate([block.x for block in _held_out(context)])
    before = ask(opened.model, x, opened.bundle.outputs[0].name)
    after = ask(candidate.model, x, candidate.outputs[0].name)
    return Confidence(
        candidate=mean_confidence(after.probabilities),
        incumbent=mean_confidence(before.probabilities),
        n=len(x),
    )


def _files(candidate: Candidate, context: Context) -> dict[str, bytes]:
    task = context.task
    records = record(
        Subject(
            name=candidate.name,
            model=candidate.model,
            outputs=candidate.outputs,
            atol=ATOL_FLOAT if candidate.variant == "float32" else ATOL_OTHER,
        ),
        channels_of(task.contract, candidate.outputs, task.labels),
        context.known,
        _held_out(context),
    )
    weights = {} if candidate.weights is None else {WEIGHTS: candidate.weights}
    return {
        **weights,
        MODEL: candidate.model,
        REFERENCE: encode_pretty(records.reference),
        GOLDEN: records.golden,
        CALIBRATION: records.calibration,
    }


def _accuracies(prefix: str, scores: Mapping[str, Score]) -> dict[str, float]:
    return {f"{prefix}.{name}": round(s.accuracy, 4) for name, s in scores.items()}
