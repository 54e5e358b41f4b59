"""A memory for the ring, samples for it, and a clock that stands until it is set."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from edge_agent.config import EvidenceConfig
from edge_agent.evidence.memory import open_memory
from edge_agent.evidence.recorder import Recorder
from edge_agent.runtime.port import Array
from edge_agent.wire.manifest import InputContract, TensorContract

NOWHERE = Path("/nonexistent")


class Clock:
    """A monotonic clock that a test sets."""

    def __init__(self) -> None:
        """Begin at some time."""
        self.now = 1000.0

    def mono(self) -> float:
        """Return the time."""
        return self.now


@contextlib.contextmanager
def ring_memory(max_bytes: int = 1 << 20) -> Iterator[int]:
    """Make the memory as the supervisor does; give its descriptor."""
    memory = open_memory(EvidenceConfig(max_bytes=max_bytes), NOWHERE)
    assert not memory.problem
    try:
        yield memory.fd
    finally:
        os.close(memory.fd)


def contract(*shape: int) -> InputContract:
    """Return a contract of one float32 input ``x``."""
    return InputContract(tensor=TensorContract(name="x", shape=list(shape)))


def offer(recorder: Recorder, stream: str, sample: Array) -> bool:
    """Offer a sample as the sample path does; tell whether it was kept."""
    due = recorder.count(stream, recorder.mono())
    if due is not None:
        recorder.keep(due, sample, {})
    return due is not None
