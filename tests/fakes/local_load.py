"""Local applications that ask a device without a pause, and note what they got."""

import threading
import time
from collections import Counter
from pathlib import Path
from typing import Self

from edge_agent.errors import AgentError
from edge_agent.serve.client import Client
from tests.fakes.releases import samples

TIMEOUT_S = 5.0
PAUSE_S = 0.01
"""After an error: an application does not spin."""


class LocalLoad:
    """Several clients, each in a thread; their notes are read when they have ended."""

    def __init__(self, socket: Path, clients: int = 3) -> None:
        """Prepare; asking starts with the ``with`` block."""
        self.answers: Counter[tuple[str, int]] = Counter()
        """Answers by who gave them and of which release."""
        self.errors: Counter[str] = Counter()
        self.not_retryable: list[str] = []
        self.times_s: list[tuple[float, float]] = []
        """When each answer came, and how long it took."""
        self.longest_s = 0.0
        self._socket = socket
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._ask, args=(n,), name=f"client-{n}")
            for n in range(clients)
        ]

    def __enter__(self) -> Self:
        """Start asking."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End asking."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def total(self) -> int:
        """How many answers came so far."""
        return sum(self.answers.values())

    def served(self, served_by: str, release: int) -> int:
        """How many answers this step of the ladder gave so far."""
        return self.answers[served_by, release]

    def _ask(self, number: int) -> None:
        inputs = samples(8)
        count = 0
        with Client(self._socket, TIMEOUT_S) as client:
            while not self._stop.is_set():
                started = time.monotonic()
                count += 1
                try:
                    made = client.infer(f"{number}-{count}", inputs[count % 8])
                except AgentError as error:
                    self._note_error(error, started)
                    self._stop.wait(PAUSE_S)
                    continue
                now = time.monotonic()
                with self._lock:
                    self.answers[made.served_by, made.release] += 1
                    self.times_s.append((now, now - started))
                    self.longest_s = max(self.longest_s, now - started)

    def _note_error(self, error: AgentError, started: float) -> None:
        with self._lock:
            self.errors[error.code] += 1
            self.longest_s = max(self.longest_s, time.monotonic() - started)
            if not error.retryable:
                self.not_retryable.append(str(error))
