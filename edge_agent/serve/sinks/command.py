"""A program for a prediction: its arguments from the configuration, never a shell.

The prediction is JSON on standard input, so nothing of it is ever an argument. One runs
at a time; at its deadline it is ended with all its children. It sees only ``PATH`` of
the environment, and its output is not kept.
"""

import contextlib
import os
import signal
import subprocess
import threading
import time

import msgspec

from edge_agent.config_flows import CommandSink
from edge_agent.serve.sinks.port import Notice

POLL_S = 0.1
TERM_S = 2.0


class CommandDelivery:
    """Runs the program; one thread uses it."""

    def __init__(self, config: CommandSink) -> None:
        """Prepare; the program is looked for when it is run."""
        self.problem = ""
        self._argv = list(config.argv)
        self._timeout_s = config.timeout_s

    def deliver(self, notice: Notice, stop: threading.Event) -> bool:
        """Run it for one notice; false when it fails, or takes too long."""
        try:
            process = subprocess.Popen(
                self._argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={"PATH": os.environ.get("PATH", os.defpath)},
                process_group=0,
            )
        except OSError as error:
            self.problem = str(error)
            return False
        try:
            self.problem = self._attend(process, msgspec.json.encode(notice), stop)
        finally:
            if process.poll() is None:
                _end(process)
        return not self.problem

    def _attend(
        self, process: "subprocess.Popen[bytes]", given: bytes, stop: threading.Event
    ) -> str:
        """Give it the notice and wait; return what is wrong, or empty."""
        deadline = time.monotonic() + self._timeout_s
        assert process.stdin is not None  # noqa: S101 - it was asked for
        # A notice fits into a pipe's buffer many times over, so this cannot hang.
        with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
            pipe.write(given)
        while True:
            try:
                status = process.wait(POLL_S)
            except subprocess.TimeoutExpired:
                if stop.is_set():
                    return "the agent stopped"
                if time.monotonic() >= deadline:
                    return f"it took longer than {self._timeout_s:g} s"
            else:
                return f"it ended with status {status}" if status else ""


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a program that still runs, and its children with it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(TERM_S)
            return
