"""The settings of a job: text in the job file, typed and bounded here.

A task may add its own by subclassing :class:`Settings`. An unknown key is refused,
with the nearest known one as the cure; called by the tasks when they are opened.
"""

import difflib
from collections.abc import Mapping
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from edge_agent.wire.types import Strict
from trainer.errors import JobError

Scope = Literal["none", "head", "bn_head", "full"]
Switch = Literal["no", "yes"]
Epochs = Annotated[int, Meta(ge=1, le=1000)]

_S = TypeVar("_S", bound="Settings")


class Settings(Strict, frozen=True, kw_only=True):
    """What every task's training can be told.

    ``teacher_epochs`` 0 trains no teacher and so no distilled student; unset means
    that a first model gets one and a retrained model does not (it must be quick, and
    its gain comes from the new samples). ``finetune.scope`` says which part of the
    incumbent's net a retrained model goes on with: the ``head`` (the hidden layer and
    the logits), the batch normalizations too (``bn_head``), all of it (``full``), or
    ``none``: it starts anew. The less changes, the smaller the patch that devices
    fetch. ``learning_rate`` unset means 0.003, or 0.0003 for a ``full`` fine-tune.
    ``shuffle_labels`` is a fault drill: labels are permuted, one epoch is trained, and
    an honest bundle tells how bad that is.
    """

    epochs: Epochs = 18
    teacher_epochs: Annotated[int, Meta(ge=0, le=1000)] | None = None
    learning_rate: Annotated[float, Meta(gt=0, le=1)] | None = None
    finetune_scope: Scope = msgspec.field(default="none", name="finetune.scope")
    shuffle_labels: Switch = "no"


def read_settings(kind: type[_S], given: Mapping[str, str]) -> _S:
    """Read a job's settings as ``kind``.

    Raises:
        JobError: A key is unknown (``TRAINER-JOB-003``) or a value does not fit
            (``TRAINER-JOB-004``).
    """
    known = kind.__struct_encode_fields__
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            raise JobError(
                "TRAINER-JOB-003",
                f"unknown setting {key!r}",
                cure=(
                    f"did you mean {near[0]!r}?"
                    if near
                    else f"known: {', '.join(sorted(known))}"
                ),
            )
    try:
        return msgspec.convert(dict(given), kind, strict=False)
    except msgspec.ValidationError as error:
        raise JobError("TRAINER-JOB-004", f"setting: {error}") from error
