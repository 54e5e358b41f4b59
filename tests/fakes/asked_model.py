"""The worker as a source sees it: a contract, and a model that answers or is busy."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.base.clock import SystemClock
from edge_agent.serve.joined import Values
from edge_agent.serve.sources.port import Outcome, Source, SourcePorts, Taken
from edge_agent.wire.manifest import InputContract, TensorContract

DEADLINE_S = 20.0


def contract_of(*shape: int, hop: int = 0, axes: str = "") -> InputContract:
    """Return the contract of samples of this shape; axes are single letters."""
    tensor = TensorContract(name="x", shape=list(shape))
    return InputContract(tensor=tensor, hop=hop, axes=list(axes))


class AskedModel:
    """Notes what it is asked; rejects what is not of its contract's shape."""

    def __init__(self, contract: InputContract | None) -> None:
        """Answer everything at once."""
        self.contract = contract
        self.busy = False
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.ids: list[str] = []
        self.streams: list[str] = []
        self.values: list[NDArray[Any]] = []
        self._came = threading.Condition()

    @property
    def ports(self) -> SourcePorts:
        """What a source needs, with this model behind it."""
        return SourcePorts(
            clock=SystemClock(),
            contract=lambda: self.contract,
            ask=self.ask,
            spawn=self.spawn,
        )

    def ask(self, stream: str, sample_id: str, sample: Values) -> Taken:
        """Answer one sample of one input, once it may."""
        assert not isinstance(sample, Mapping)
        with self._came:
            if self.busy:
                self._came.notify_all()
                return Taken(outcome=Outcome.BUSY, why="busy")
            self.streams.append(stream)
            self.ids.append(sample_id)
            self.values.append(np.array(sample))
            self._came.notify_all()
        assert self.may_answer.wait(DEADLINE_S), "nobody let the model answer"
        wanted = self.contract.tensor.shape if self.contract else []
        if list(sample.shape) != wanted:
            return Taken(outcome=Outcome.REJECTED, why=f"shape {sample.shape}")
        return Taken(outcome=Outcome.ANSWERED)

    def wait(self, holds: Callable[[], bool]) -> None:
        """Wait until what was asked has a property."""
        with self._came:
            assert self._came.wait_for(holds, DEADLINE_S), f"never came: {self.ids}"

    def spawn(self, name: str, body: Callable[[], None]) -> object:
        """Start a thread."""
        thread = threading.Thread(target=body, name=name, daemon=True)
        thread.start()
        return thread


@contextmanager
def running(source: Source) -> Iterator[None]:
    """Run a source until the block ends."""
    stop = threading.Event()
    thread = threading.Thread(target=source.run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(DEADLINE_S)
        assert not thread.is_alive(), "the source does not stop"
