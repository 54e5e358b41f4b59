"""Progress of a job: a line in ``progress.jsonl`` for the hub, a call for a person.

Written by the job and nobody else; the hub reads the file while the job runs.
"""

from collections.abc import Callable
from pathlib import Path

from edge_agent.base.clock import Clock
from edge_agent.wire.codec import encode
from edge_agent.wire.job import PROGRESS_FILE, Progress

Listener = Callable[[Progress], None]


class ProgressLog:
    """Appends to ``progress.jsonl``; ``done`` never falls."""

    def __init__(self, folder: Path, clock: Clock, listener: Listener) -> None:
        """Start an empty log in ``folder``."""
        self._path = folder / PROGRESS_FILE
        self._clock = clock
        self._listener = listener
        self._done = 0.0
        self._path.write_bytes(b"")

    def report(self, stage: str, done: float, text: str = "") -> None:
        """Record that the job is at ``stage``, ``done`` of 1 in all."""
        self._done = min(1.0, max(self._done, done))
        line = Progress(
            at=self._clock.wall(), stage=stage, done=round(self._done, 3), text=text
        )
        with self._path.open("ab") as file:
            file.write(encode(line) + b"\n")
        self._listener(line)
