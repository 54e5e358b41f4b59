"""What updates need of the inference worker."""

from dataclasses import dataclass
from typing import Protocol

from edge_agent.store.slots import Figures
from edge_agent.update.shadow import ShadowState

WORKER_POLL_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What the worker answers with, and why not otherwise.

    Release 0 with a digest is the factory model; without one, nothing.
    """

    release: int = 0
    sha256: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerFigures:
    """What the worker answers with now, how it did, and how the one before did.

    ``sheds``: whether it leaves work out, because of heat or a quota on its processor.
    """

    now: Figures
    before: Figures | None
    sheds: bool = False


class Worker(Protocol):
    """What an activation needs of the inference worker."""

    def reload(self) -> Loaded:
        """Read the slot row again and load what it names.

        Returns:
            What answers from now on.

        Raises:
            WorkerError: It does not answer (retryable).
        """
        ...

    def figures(self) -> WorkerFigures:
        """Return the worker's figures.

        Raises:
            WorkerError: It does not answer (retryable).
        """
        ...

    def shadow(self) -> ShadowState:
        """Return how the release in shadow does (release 0: there is none).

        Raises:
            WorkerError: It does not answer (retryable).
        """
        ...
