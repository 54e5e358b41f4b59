"""Late labels: follow the agent's predictions and tell it the truth some time later.

For replayed recordings, whose labels are known by name; used by ``edge-agent
feedback``. A person or an application would call the local API's ``feedback`` itself.
"""

from collections import deque
from collections.abc import Mapping
from pathlib import Path
from threading import Event

import msgspec

from edge_agent.base.clock import Clock
from edge_agent.base.exit_codes import ExitCode
from edge_agent.base.regular import read_regular
from edge_agent.errors import AgentError, WorkerError
from edge_agent.serve.client import UNREACHABLE, Client
from edge_agent.serve.protocol import MAX_RECENT, Prediction

POLL_S = 0.5
MAX_BYTES = 64 << 20


class LabelsError(AgentError):
    """A file of labels that cannot be used."""

    exit_code = ExitCode.USAGE


def read_labels(path: Path) -> dict[str, str]:
    """Read a JSON object that maps a recording's name to its label.

    Raises:
        LabelsError: The file cannot be read or is not such an object.
    """
    try:
        return msgspec.json.decode(
            read_regular(path, MAX_BYTES, follow=True), type=dict[str, str]
        )
    except (OSError, msgspec.MsgspecError) as error:
        raise LabelsError(
            "AGENT-LABELS-001",
            f"{path}: {error}",
            cure='write a JSON object: {"recording name": "label", …}',
        ) from error


class LateLabels:
    """Gives every prediction of a known recording its label, ``delay_s`` later.

    A sample's recording is its id up to the first ``@``. When the worker restarts its
    numbers begin anew; telling a label twice does nothing.
    """

    def __init__(
        self, client: Client, labels: Mapping[str, str], delay_s: float, clock: Clock
    ) -> None:
        """Prepare to follow; nothing is asked yet."""
        self._client = client
        self._labels = labels
        self._delay_s = delay_s
        self._clock = clock
        self._after = 0
        self._waiting: deque[tuple[float, str, str]] = deque()

    def follow(self, stop: Event) -> int:
        """Follow until ``stop`` is set; returns how many labels were told."""
        told = 0
        while not stop.is_set():
            try:
                told += self.step()
            except WorkerError as error:
                if error.code != UNREACHABLE:
                    raise
                self._after = 0
            stop.wait(POLL_S)
        return told

    def step(self) -> int:
        """Note new predictions and tell the labels that are due.

        Raises:
            WorkerError: The worker cannot be reached.
        """
        now = self._clock.mono()
        for prediction in self._client.recent(self._after, MAX_RECENT):
            self._note(prediction, now)
        told = 0
        while self._waiting and self._waiting[0][0] <= now:
            _, sample_id, label = self._waiting.popleft()
            told += self._tell(sample_id, label)
        return told

    def _note(self, prediction: Prediction, now: float) -> None:
        self._after = prediction.number
        label = self._labels.get(prediction.sample_id.partition("@")[0])
        if label is not None:
            due = now + self._delay_s
            self._waiting.append((due, prediction.sample_id, label))

    def _tell(self, sample_id: str, label: str) -> int:
        """Tell one label; one that the worker no longer knows the sample of is lost."""
        try:
            self._client.feedback(sample_id, label)
        except WorkerError as error:
            if error.code == UNREACHABLE:
                raise
            return 0
        return 1
