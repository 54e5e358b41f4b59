"""The local API's messages and frames.

A frame is ``u32 length | u32 header length | header | data``, big-endian; ``length``
counts everything after itself. The header is JSON, a tagged union by ``op``; the data
of ``infer`` is the sample as little-endian float32 in C order, of every other message
empty. A reader refuses a length over the limit before it reads on.
"""

import math
import struct
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from edge_agent.errors import WorkerError
from edge_agent.evidence.judge import PairedFigures
from edge_agent.wire.errors import UNREADABLE
from edge_agent.wire.manifest import MAX_LABELS, NumberType
from edge_agent.wire.records import ShadowSummary
from edge_agent.wire.types import (
    Count,
    Instant,
    Message,
    Ratio,
    ReleaseNumber,
    SampleId,
    Short,
)

MAX_FRAME_BYTES = 16 << 20
MAX_RECENT = 1000
LENGTH = struct.Struct("!I")
BAD_FRAME = "AGENT-API-001"
BAD_REQUEST = "AGENT-API-002"
TOO_MANY_CONNECTIONS = "AGENT-API-004"

WIDTHS = {
    "bool": 1,
    **{
        f"{kind}{8 * width}": width
        for kind in ("int", "uint")
        for width in (1, 2, 4, 8)
    },
    **{f"float{8 * width}": width for width in (2, 4, 8)},
}
"""Bytes of one number of each type."""

Long = Annotated[str, Meta(max_length=4096)]
Dimensions = Annotated[list[Annotated[int, Meta(ge=1, le=1 << 22)]], Meta(max_length=8)]


class _Op(Message, frozen=True, kw_only=True, tag_field="op"):
    """Base of all messages of the local API."""


class Part(Message, frozen=True, kw_only=True):
    """One input of a sample, and what its part of the data is."""

    name: Short
    dtype: NumberType
    shape: Dimensions = []

    @property
    def bytes(self) -> int:
        """How much of the data it is."""
        return math.prod(self.shape) * WIDTHS[self.dtype]


class Infer(_Op, frozen=True, kw_only=True, tag="infer"):
    """Predict one sample; the data holds it. Answered with :class:`Prediction`.

    ``shape`` is that of the only input; a model with several, or with another type than
    float32, gets them by name in ``inputs``.
    """

    sample_id: SampleId
    shape: Dimensions = []
    inputs: Annotated[list[Part], Meta(max_length=16)] = []


class Feedback(_Op, frozen=True, kw_only=True, tag="feedback"):
    """The true label of an earlier sample. Answered with :class:`Ok`, also twice."""

    sample_id: SampleId
    label: Annotated[str, Meta(min_length=1, max_length=128)]


class Recent(_Op, frozen=True, kw_only=True, tag="recent"):
    """Predictions with a number above ``after``, oldest first."""

    after: Count = 0
    limit: Annotated[int, Meta(ge=1, le=MAX_RECENT)] = 100


class Status(_Op, frozen=True, kw_only=True, tag="status"):
    """What is loaded and where samples come from."""


class Reload(_Op, frozen=True, kw_only=True, tag="reload"):
    """Read the slot row again and serve what it names. Answered like ``status``."""


class Stats(_Op, frozen=True, kw_only=True, tag="stats"):
    """Figures for health and probation."""


class Check(_Op, frozen=True, kw_only=True, tag="check"):
    """Let every loaded model really infer a sample. Answered with :class:`Ok`."""


class Shadow(_Op, frozen=True, kw_only=True, tag="shadow"):
    """How the release in shadow does. Answered with :class:`ShadowReply`."""


class Collect(_Op, frozen=True, kw_only=True, tag="collect"):
    """Collect labelled samples (0 ends it) until a wall time (0: no end)."""

    max_samples: Annotated[int, Meta(ge=0, le=10_000)]
    until: Instant = 0.0


class Evidence(_Op, frozen=True, kw_only=True, tag="evidence"):
    """What the ring of own inputs holds. Answered with :class:`EvidenceReply`."""


class ForgetEvidence(_Op, frozen=True, kw_only=True, tag="forget_evidence"):
    """Empty the ring of own inputs. Answered with :class:`EvidenceReply`."""


Request = (
    Infer
    | Feedback
    | Recent
    | Status
    | Reload
    | Stats
    | Check
    | Shadow
    | Collect
    | Evidence
    | ForgetEvidence
)


class OutputValues(Message, frozen=True, kw_only=True):
    """One named output: its numbers in C order."""

    shape: Annotated[list[Count], Meta(max_length=8)]
    values: Annotated[list[float], Meta(max_length=1 << 20)]


class Prediction(_Op, frozen=True, kw_only=True, tag="prediction"):
    """One answered sample.

    ``served_by`` is ``active``, ``previous``, ``factory`` or ``rule``. A model that
    tells no classes has an empty ``label`` and its answer in ``outputs``, which are
    told when the sample is answered and not again.
    """

    sample_id: SampleId
    release: ReleaseNumber
    label: Short
    confidence: Ratio
    probabilities: Annotated[list[float], Meta(max_length=MAX_LABELS)]
    served_by: Short
    latency_us: float
    number: Count
    at: Instant = 0.0
    outputs: Annotated[dict[Short, OutputValues], Meta(max_length=16)] = {}


class Ok(_Op, frozen=True, kw_only=True, tag="ok"):
    """Done."""


class Failure(_Op, frozen=True, kw_only=True, tag="failure"):
    """Not done, and why. ``reason`` is a rejected sample's (else empty)."""

    code: Short
    text: Long
    cure: Long = ""
    retryable: bool = False
    reason: Short = ""


class RecentReply(_Op, frozen=True, kw_only=True, tag="recent_reply"):
    """Predictions by rising number."""

    predictions: Annotated[list[Prediction], Meta(max_length=MAX_RECENT)]


class FlowStatus(Message, frozen=True, kw_only=True):
    """One source or sink: what came of its samples or notices, and what is wrong.

    ``done`` is answered (a source) or handed on (a sink); ``dropped`` is what was left
    out because the model, or the receiver, was slower.
    """

    name: Short
    kind: Short
    problem: Long = ""
    done: Count = 0
    rejected: Count = 0
    failed: Count = 0
    dropped: Count = 0
    files_done: Count = 0
    files_failed: Count = 0


Flows = Annotated[list[FlowStatus], Meta(max_length=32)]


class StatusReply(_Op, frozen=True, kw_only=True, tag="status_reply"):
    """What is really loaded (release 0, sha256 "": nothing).

    ``problem`` is why the slot row could not be followed, or empty; ``source`` and
    ``source_problem`` are the first source's kind and the first problem of any.
    """

    boot: Short
    pid: Count
    release: ReleaseNumber
    sha256: Short = ""
    previous: ReleaseNumber = 0
    labels: Annotated[list[Short], Meta(max_length=MAX_LABELS)] = []
    shape: Dimensions = []
    inputs: Annotated[list[Short], Meta(max_length=16)] = []
    """Names of the model's inputs."""
    runtime: Short = ""
    fallback: Short = ""
    uptime_s: float = 0.0
    source: Short = ""
    source_problem: Long = ""
    sources: Flows = []
    sinks: Flows = []
    problem: Long = ""


class FiguresReply(_Op, frozen=True, kw_only=True, tag="figures"):
    """Figures of one release; ``latency`` maps log bins to counts."""

    release: ReleaseNumber = 0
    sha256: Short = ""
    predictions: Count = 0
    errors: Count = 0
    rejected_by_reason: dict[Short, Count] = {}
    latency: dict[str, Count] = {}
    class_counts: list[Count] = []
    confidence_sum: float = 0.0
    fallbacks: Count = 0


class SheddingReply(_Op, frozen=True, kw_only=True, tag="shedding"):
    """What the device leaves out (level "": nothing), how often so far, and why."""

    level: Short = ""
    left_out: dict[Short, Count] = {}
    celsius: float | None = None
    throttled_ratio: Ratio | None = None


class StatsReply(_Op, frozen=True, kw_only=True, tag="stats_reply"):
    """Figures of the release since its load, of the one before, and since boot.

    ``before`` covers the latest 500 requests that the release before answered;
    ``total`` has no classes (labels may differ from release to release).
    """

    release: ReleaseNumber = 0
    sha256: Short = ""
    predictions: Count = 0
    errors: Count = 0
    rejected_by_reason: dict[Short, Count] = {}
    latency: dict[str, Count] = {}
    class_counts: list[Count] = []
    confidence_sum: float = 0.0
    fallbacks: Count = 0
    """Of the errors, those that the release before answered; a burst counts once."""
    rss_bytes: Count = 0
    before: FiguresReply = FiguresReply()
    total: FiguresReply = FiguresReply()
    records_dropped: Count = 0
    source_dropped: Count = 0
    sink_lost: Count = 0
    samples_taken: Count = 0
    samples_refused: dict[Short, Count] = {}
    shedding: SheddingReply = SheddingReply()
    api: Annotated[list[Long], Meta(max_length=8)] = []
    """Addresses at which the local API answers now."""


class ShadowReply(_Op, frozen=True, kw_only=True, tag="shadow_reply"):
    """The pairs so far (release 0: nothing runs in shadow), and what keeps it.

    ``busy_s`` is how long loading, while not ``ready``, or one inference has taken.
    ``figures`` are those of the latest 512 pairs, the older of the two releases as the
    incumbent: before an activation the active one, after it the one in shadow. They are
    missing where a release keeps state between samples. ``labels_early`` counts samples
    whose true label came before the answer of the release in shadow: they are no pairs
    for labels.
    """

    summary: ShadowSummary
    ready: bool = False
    busy_s: float = 0.0
    problem: Long = ""
    figures: PairedFigures | None = None
    labels_early: Count = 0


class EvidenceReply(_Op, frozen=True, kw_only=True, tag="evidence_reply"):
    """The ring of own inputs: ``kept`` of ``capacity`` samples in ``bytes`` of memory.

    ``keep`` is the setting. ``fits``: the samples are of the active release's inputs.
    ``oldest_s`` is the age of the oldest, times without an agent left out (absent:
    none is kept), ``torn`` what cannot be read, ``stateful`` whether stretches are
    kept, ``problem`` why there is no ring, or what is wrong with it.
    """

    keep: Short = "off"
    kept: Count = 0
    capacity: Count = 0
    bytes: Count = 0
    fits: bool = False
    oldest_s: float | None = None
    misfits: Count = 0
    torn: Count = 0
    stateful: bool = False
    problem: Long = ""


Reply = (
    Prediction
    | Ok
    | Failure
    | RecentReply
    | StatusReply
    | StatsReply
    | ShadowReply
    | EvidenceReply
)

Body = bytes | memoryview
"""A frame without its first four bytes."""
_T = TypeVar("_T")
request_decoder = msgspec.json.Decoder(Request)
reply_decoder = msgspec.json.Decoder(Reply)


def encode_frame(message: Request | Reply, data: bytes = b"") -> bytes:
    """Return a whole frame.

    Raises:
        WorkerError: It would be over the limit.
    """
    header = msgspec.json.encode(message)
    length = LENGTH.size + len(header) + len(data)
    if length > MAX_FRAME_BYTES:
        raise WorkerError(BAD_FRAME, f"frame of {length} bytes is too large")
    return LENGTH.pack(length) + LENGTH.pack(len(header)) + header + data


def read_length(prefix: bytes) -> int:
    """Return how many bytes follow the first four.

    Raises:
        WorkerError: Fewer than a frame needs, or over the limit.
    """
    length = int(LENGTH.unpack(prefix)[0])
    if not LENGTH.size <= length <= MAX_FRAME_BYTES:
        raise WorkerError(
            BAD_FRAME, f"frame of {length} bytes; 4 to {MAX_FRAME_BYTES} are possible"
        )
    return length


def decode_frame(body: Body, decoder: msgspec.json.Decoder[_T]) -> tuple[_T, bytes]:
    """Return message and data of a frame without its first four bytes.

    Raises:
        WorkerError: It is not a valid frame or message.
    """
    header_length = int(LENGTH.unpack_from(body)[0])
    end = LENGTH.size + header_length
    if end > len(body):
        raise WorkerError(BAD_FRAME, "header is longer than its frame")
    try:
        return decoder.decode(body[LENGTH.size : end]), bytes(body[end:])
    except UNREADABLE as error:
        raise WorkerError(BAD_REQUEST, f"not a valid message: {error}") from error
