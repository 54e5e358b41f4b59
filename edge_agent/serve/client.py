"""A client of the local API. Every call has a deadline.

The supervisor, the command line and tests use it. One connection, made at the first
call and again after a failure; not thread-safe.
"""

import contextlib
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

from edge_agent.errors import AgentError, SampleRejectedError, WorkerError
from edge_agent.serve import protocol as p
from edge_agent.serve.framing import Frames
from edge_agent.serve.parts import infer_message
from edge_agent.serve.socket_path import socket_address

if TYPE_CHECKING:
    from edge_agent.serve.parts import Given

UNREACHABLE = "AGENT-WORKER-001"
"""Code of the error of a worker that cannot be reached or is silent."""

_R = TypeVar("_R", bound=p.Reply)


class Client:
    """Talks to a worker through its socket.

    Every method raises :class:`~edge_agent.errors.WorkerError`: ``AGENT-WORKER-001``
    (retryable) when the worker cannot be reached or does not answer in time, else the
    code of the worker's refusal.
    """

    def __init__(self, path: Path, timeout_s: float = 5.0) -> None:
        """Point at a socket; nothing is opened yet."""
        self._path = path
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None
        self._frames: Frames | None = None

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = self._frames = None

    def infer(self, sample_id: str, sample: "Given") -> p.Prediction:
        """Predict one sample: an array, or one for each input by name.

        Raises:
            SampleRejectedError: The sample fails a quality check.
        """
        request, data = infer_message(sample_id, sample)
        return self._call(request, p.Prediction, data)

    def feedback(self, sample_id: str, label: str) -> None:
        """Tell the true label of an earlier sample; telling it twice does nothing."""
        self._call(p.Feedback(sample_id=sample_id, label=label), p.Ok)

    def recent(self, after: int = 0, limit: int = 100) -> list[p.Prediction]:
        """Return predictions with a number above ``after``, oldest first."""
        reply = self._call(p.Recent(after=after, limit=limit), p.RecentReply)
        return reply.predictions

    def status(self) -> p.StatusReply:
        """Return what is loaded."""
        return self._call(p.Status(), p.StatusReply)

    def reload(self) -> p.StatusReply:
        """Make the worker follow the slot row; return what is loaded afterwards."""
        return self._call(p.Reload(), p.StatusReply)

    def stats(self) -> p.StatsReply:
        """Return figures for health and probation."""
        return self._call(p.Stats(), p.StatsReply)

    def check(self) -> None:
        """Have the worker infer a sample that is not counted, with every model."""
        self._call(p.Check(), p.Ok)

    def shadow(self) -> p.ShadowReply:
        """Return how the release in shadow does."""
        return self._call(p.Shadow(), p.ShadowReply)

    def collect(self, max_samples: int, until: float = 0.0) -> None:
        """Collect labelled samples until a wall time; 0 samples end it."""
        self._call(p.Collect(max_samples=max_samples, until=until), p.Ok)

    def evidence(self) -> p.EvidenceReply:
        """Return what the ring of own inputs holds."""
        return self._call(p.Evidence(), p.EvidenceReply)

    def forget_evidence(self) -> p.EvidenceReply:
        """Empty the ring of own inputs; return what it holds afterwards."""
        return self._call(p.ForgetEvidence(), p.EvidenceReply)

    def _call(self, request: p.Request, kind: type[_R], data: bytes = b"") -> _R:
        frame = p.encode_frame(request, data)
        deadline = time.monotonic() + self._timeout_s
        try:
            body = self._exchange(frame, deadline)
        except (BlockingIOError, TimeoutError) as error:
            self.close()
            raise self._unreachable(
                f"it took longer than {self._timeout_s:g} s",
                "the agent starts one that hangs anew; edge-agent status shows it",
            ) from error
        except (OSError, WorkerError) as error:
            self.close()
            raise self._unreachable(
                str(error) or type(error).__name__,
                "start the agent with `edge-agent run`",
            ) from error
        return self._check(body, kind)

    def _exchange(self, frame: bytes, deadline: float) -> p.Body:
        """Send a frame and read the reply, over a new connection if the old one ended.

        A connection that was open before may have ended unnoticed: the worker was
        started anew, or it gave up on an idle client.
        """
        for reused in (self._socket is not None, False):
            try:
                frames = self._connect()
                # What was said before the other end closed can still be read.
                with contextlib.suppress(BrokenPipeError):
                    frames.send(frame)
                left = max(deadline - time.monotonic(), 0.001)
                # Mostly all is left: the kernel then knows the limit already.
                body = frames.read(idle_s=self._timeout_s if reused else left)
                if body is not None:
                    return body
            except ConnectionResetError:
                if not reused:
                    raise
            self.close()
            if not reused:
                break
        raise ConnectionError("it closed the connection")

    def _connect(self) -> Frames:
        if self._frames is None:
            fresh = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            fresh.settimeout(self._timeout_s)
            try:
                with socket_address(self._path) as address:
                    fresh.connect(address)
            except OSError:
                fresh.close()
                raise
            self._socket = fresh
            self._frames = Frames(fresh, frame_s=self._timeout_s)
        return self._frames

    def _check(self, body: p.Body, kind: type[_R]) -> _R:
        reply, _ = p.decode_frame(body, p.reply_decoder)
        if isinstance(reply, p.Failure):
            raise _error_of(reply)
        if not isinstance(reply, kind):
            self.close()
            raise WorkerError(
                "AGENT-WORKER-009", f"worker answered with {type(reply).__name__}"
            )
        return reply

    def _unreachable(self, why: str, cure: str) -> WorkerError:
        return WorkerError(
            UNREACHABLE,
            f"the worker at {self._path} does not answer: {why}",
            cure=cure,
            retryable=True,
        )


def _error_of(failure: p.Failure) -> AgentError:
    if failure.reason:
        return SampleRejectedError(failure.reason, failure.text)
    return WorkerError(
        failure.code, failure.text, cure=failure.cure, retryable=failure.retryable
    )
