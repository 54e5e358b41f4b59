"""The port of a task: a small plugin that brings data and a net.

Invariants every task keeps: no group (a person) is in two roles; ``gate`` blocks are
never trained on, nor used to choose between models; a block is contiguous in the
order in which a device would see it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_agent.wire.manifest import InputContract
from trainer.settings import Settings

if TYPE_CHECKING:
    import keras

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Texts = NDArray[np.str_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Labelled samples: ``x`` ``(n, *shape)``, ``y`` and ``group`` ``(n,)``."""

    x: Floats
    y: Ints
    group: Texts


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One held-out stream: who and where (``group``), its segment, its samples."""

    group: str
    segment: str
    x: Floats
    y: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """A task's data: what to train on, held-out blocks, digests of the sources."""

    train: Windows
    gate: tuple[Block, ...]
    digests: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetParams:
    """Size of a net: filters of its convolutions, units of its hidden layer."""

    filters: tuple[int, ...]
    hidden: int
    dropout: float


class Task(Protocol):
    """What the pipeline asks of a task."""

    @property
    def name(self) -> str:
        """The task's name in jobs and bundles."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the net's outputs."""
        ...

    @property
    def contract(self) -> InputContract:
        """What a sample looks like."""
        ...

    @property
    def segments(self) -> tuple[str, ...]:
        """All segments that its gate blocks come from."""
        ...

    @property
    def trained_segments(self) -> tuple[str, ...]:
        """The segments that ``train`` covers under the job's settings."""
        ...

    @property
    def settings(self) -> Settings:
        """The job's settings, typed."""
        ...

    @property
    def student(self) -> NetParams:
        """The size that is shipped."""
        ...

    @property
    def teacher(self) -> NetParams:
        """The size that teaches."""
        ...

    def load(self) -> Corpus:
        """Return the data.

        Raises:
            DataError: It is missing or not what it should be.
        """
        ...

    def augment(self, x: Floats, rng: np.random.Generator) -> Floats:
        """Return varied copies of ``x``, shape kept; labels stay true."""
        ...

    def build(self, params: NetParams, x: Floats) -> "keras.Model":
        """Return an untrained net with preprocessing fitted on ``x``.

        It maps a batch of samples to logits; the layer named ``hidden`` (flat, last
        before the logits) is what drift monitoring looks at.
        """
        ...
