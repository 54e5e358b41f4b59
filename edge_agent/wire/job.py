"""A training job: what the hub hands to a trainer process, as a JSON file.

Paths are absolute or relative to the job file. The trainer writes its progress to
``progress.jsonl`` beside the job file (one :class:`Progress` a line) and the bundle to
``out``; a folder that holds ``bundle.json`` is complete.
"""

from typing import Annotated

from msgspec import Meta

from edge_agent.wire.types import (
    Instant,
    Labels,
    Name,
    Ratio,
    ReleaseNumber,
    Short,
    Strict,
    Text,
    prepare,
)

JOB_FILE = "job.json"
PROGRESS_FILE = "progress.jsonl"


class Incumbent(Strict, frozen=True, kw_only=True):
    """The released model that a candidate must beat: its number and bundle folder."""

    release: ReleaseNumber
    bundle: Text


class Job(Strict, frozen=True, kw_only=True):
    """Train a model for ``task``, or retrain it with labelled samples from devices.

    ``samples`` names an npz of what devices uploaded: ``x`` float32 ``(n, *shape)``,
    ``label`` and ``group`` (device id) as text of shape ``(n,)``. ``settings`` are the
    task's own, as text; the trainer rejects unknown ones.
    """

    id: Name
    task: Name
    name: Name
    out: Text
    seed: Annotated[int, Meta(ge=0, le=2**31)] = 7
    samples: Text = ""
    incumbent: Incumbent | None = None
    settings: Labels = {}


class Progress(Strict, frozen=True, kw_only=True):
    """One line of progress: the stage, how far the whole job is, and a short text."""

    at: Instant
    stage: Short
    done: Ratio
    text: Text = ""


prepare(Job, Progress)
