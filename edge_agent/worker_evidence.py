"""The ring of own inputs in the worker: its writer, and what the local API says."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from edge_agent.base.clock import Clock
from edge_agent.base.randomness import KernelRandom
from edge_agent.config import EvidenceConfig
from edge_agent.errors import RingError, WorkerError
from edge_agent.evidence.memory import BAD_FILE, forget_files
from edge_agent.evidence.recorder import Recorder
from edge_agent.evidence.ring_writer import RingWriter
from edge_agent.serve.protocol import EvidenceReply

RING_UNUSABLE = "evidence.ring_unusable"
NOT_FORGOTTEN = "AGENT-EVIDENCE-006"
MAX_PROBLEM = 1024

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenRing:
    """What the supervisor gave this process: a descriptor (-1: none), and its words."""

    fd: int = -1
    problem: str = ""


class WorkerEvidence:
    """Keeps inputs where there is a ring, and says so where there is none.

    Attributes:
        recorder: What the sample path feeds; ``None``: there is no ring.
    """

    def __init__(
        self, config: EvidenceConfig, state_dir: Path, given: GivenRing, clock: Clock
    ) -> None:
        """Map the ring; one that cannot be used is said and done without."""
        self._keep = config.keep
        self._state_dir = state_dir
        self._problem = given.problem
        self.recorder: Recorder | None = None
        if given.fd < 0:
            return
        try:
            os.set_inheritable(given.fd, False)
            writer = RingWriter.attach(given.fd)
        except (RingError, OSError) as error:
            log.error(RING_UNUSABLE, extra={"error": str(error)})  # noqa: TRY400
            self._problem = str(error)
            return
        # Which samples are kept shall not be known to who sends them.
        self.recorder = Recorder(writer, KernelRandom(), clock.mono)

    def view(self) -> EvidenceReply:
        """Return what is kept."""
        if self.recorder is None:
            return EvidenceReply(keep=self._keep, problem=self._problem[:MAX_PROBLEM])
        seen = self.recorder.view()
        problems = [one for one in (self._problem, seen.problem) if one]
        return EvidenceReply(
            keep=self._keep,
            kept=seen.kept,
            capacity=seen.capacity,
            bytes=seen.bytes,
            fits=seen.fits,
            oldest_s=seen.oldest_s,
            misfits=seen.misfits,
            torn=seen.torn,
            stateful=seen.stateful,
            problem="; ".join(problems)[:MAX_PROBLEM],
        )

    def forget(self) -> None:
        """Empty the ring, and remove one that was set aside.

        Raises:
            WorkerError: That one cannot be removed (``AGENT-EVIDENCE-006``).
        """
        if self.recorder is not None:
            self.recorder.clear()
        try:
            forget_files(self._state_dir, BAD_FILE)
        except OSError as error:
            raise WorkerError(
                NOT_FORGOTTEN,
                f"the ring is empty, but {error}",
                cure=f"remove {BAD_FILE} from the state folder by hand",
            ) from error
