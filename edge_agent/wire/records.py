"""The records that a device commits to its outbox, one struct a kind.

A record belongs to one lane (:data:`LANE_OF`). It holds no sequence number: the
outbox gives it one when it is committed, and the batch carries it.
"""

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from edge_agent.wire.profile import ProfileData
from edge_agent.wire.topics import Lane
from edge_agent.wire.types import (
    Code,
    Count,
    Instant,
    Labels,
    Message,
    Name,
    Ratio,
    ReleaseNumber,
    SampleId,
    Seconds,
    Sha256,
    Short,
    Text,
)

Shape = Annotated[list[Count], Meta(max_length=8)]
Celsius = Annotated[float, Meta(ge=-274, le=1000)]


class Record(Message, frozen=True, tag_field="kind"):
    """Base of all records. ``at``: the device's wall time of the event.

    Records also take their fields by place: a batch is decoded column by column, and
    to name the fields of each record would cost more than all the rest of it.
    """

    at: Instant


class ProfileRecord(Record, frozen=True, tag="profile"):
    """What one window of samples looked like, as counts on the release's bin edges.

    ``reference`` is the sha256 of the release's reference profile: profiles with
    another reference must never be merged with these.
    """

    release: ReleaseNumber
    reference: Sha256
    window_start_at: Instant
    window_end_at: Instant
    profile: ProfileData


class HealthRecord(Record, frozen=True, tag="health"):
    """The device's heartbeat: counters since boot, memory, and what is loaded."""

    uptime_s: Seconds
    release: ReleaseNumber
    sha256: Short = ""
    predictions: Count = 0
    rejected: Count = 0
    errors: Count = 0
    rejected_by_reason: dict[Short, Count] = {}
    latency_p50_us: float = 0.0
    latency_p95_us: float = 0.0
    rss_supervisor_bytes: Count = 0
    rss_worker_bytes: Count = 0
    worker_restarts: Count = 0
    outbox_pending: dict[Short, Count] = {}
    outbox_evicted: dict[Short, Count] = {}
    source_dropped: Count | UnsetType = UNSET
    """Samples that the sources left out because the model was slower, if any."""
    sink_lost: Count | UnsetType = UNSET
    """Predictions that a local receiver did not get, if any."""
    shedding: Short | UnsetType = UNSET
    """What the device leaves out now: ``shadow``, ``bulk`` or ``samples``, if any."""
    left_out: dict[Short, Count] | UnsetType = UNSET
    """What it left out because of heat or its quota since its worker started."""
    celsius: Celsius | UnsetType = UNSET
    """Temperature of its hottest zone, where it tells."""
    throttled_ratio: Ratio | UnsetType = UNSET
    """Share of its latest scheduling periods in which its quota was used up."""


class PairedAnswer(Message, frozen=True, kw_only=True):
    """What another release answered to the same sample, in shadow."""

    release: ReleaseNumber
    predicted: Short
    correct: bool


class FeedbackRecord(Record, frozen=True, tag="feedback"):
    """A true label that arrived late for one prediction of this device.

    ``other`` is there where a second release answered the same sample: such pairs
    compare releases on the same samples.
    """

    sample_id: SampleId
    release: ReleaseNumber
    predicted: Short
    label: Short
    correct: bool
    confidence: Ratio
    predicted_at: Instant
    other: PairedAnswer | UnsetType = UNSET


class ShadowSummary(Message, frozen=True, kw_only=True):
    """How a release did beside the active one, on the same ``n`` samples.

    ``disagreement_ratio`` is the share of samples with another class,
    ``confidence_shift`` the mean of its confidence minus the active one's,
    ``latency_ratio`` the quotient of the medians, ``rss_bytes`` what loading it added
    to the worker. ``errors`` failed, ``dropped`` were not tried: the device was busy.
    """

    release: ReleaseNumber
    n: Count = 0
    errors: Count = 0
    dropped: Count = 0
    disagreement_ratio: Ratio = 0.0
    confidence_shift: Annotated[float, Meta(ge=-1, le=1)] = 0.0
    latency_ratio: Annotated[float, Meta(ge=0, le=1e9)] = 0.0
    rss_bytes: Count = 0


class PairedSummary(Message, frozen=True, kw_only=True):
    """What a paired test found: two releases answered the same ``n`` samples.

    ``result`` is ``ok``, ``fail`` or ``inconclusive``, with its ``reason`` in words;
    ``source`` is ``ring`` (the device's own kept samples, before the activation) or
    ``live``. Failures are those of one release alone, a burst counted once.
    ``statistic`` names what ``association`` is (0: the candidate's answers tell nothing
    of the incumbent's, 1: everything), ``entropy`` is the incumbent's in nats.
    """

    release: ReleaseNumber
    incumbent: ReleaseNumber
    result: Short
    source: Short
    n: Count = 0
    candidate_failures: Count = 0
    incumbent_failures: Count = 0
    statistic: Short = ""
    association: Annotated[float, Meta(ge=-1, le=1)] | UnsetType = UNSET
    entropy: Annotated[float, Meta(ge=0, le=64)] | UnsetType = UNSET
    confidence_drop: Annotated[float, Meta(ge=-1, le=1)] | UnsetType = UNSET
    published_drop: Ratio = 0.0
    latency_ratio: Annotated[float, Meta(ge=0, le=1e9)] | UnsetType = UNSET
    reason: Text = ""


class UpdateRecord(Record, frozen=True, tag="update"):
    """One transition of the activation machine, or its end (``outcome`` set).

    ``outcome`` is ``""`` on the way, then one of ``committed``, ``failed`` (before
    activation), ``rolled_back`` (after activation) or ``rejected``. ``shadow`` comes
    with the record that ends the phase of that name, and so does ``paired``. With
    ``committed``, ``evidence`` tells what that rests on: ``conclusive``,
    ``inconclusive`` (``detail`` says what was missing), ``untested`` (a first release,
    which had nothing to be compared with, before live input), or ``failed`` (samples
    that came after the commit speak against it; ``code`` says what).
    """

    assignment_seq: Count
    rollout: Short
    release: ReleaseNumber
    phase: Short
    outcome: Short = ""
    code: Short = ""
    detail: Text = ""
    shadow: ShadowSummary | UnsetType = UNSET
    paired: PairedSummary | UnsetType = UNSET
    evidence: Short | UnsetType = UNSET


class EventRecord(Record, frozen=True, tag="event"):
    """Something an operator should know: code, plain text, and its facts."""

    code: Code
    severity: Short
    text: Text
    facts: Labels = {}


class SampleRecord(Record, frozen=True, tag="sample"):
    """One raw input with its true label, sent only under a named, unexpired consent.

    ``data`` is the input as little-endian float32 in C order (base64 in JSON).
    """

    sample_id: SampleId
    release: ReleaseNumber
    consent: Name
    label: Short
    predicted: Short
    shape: Shape
    data: Annotated[bytes, Meta(max_length=1 << 20)]


AnyRecord = (
    ProfileRecord
    | HealthRecord
    | FeedbackRecord
    | UpdateRecord
    | EventRecord
    | SampleRecord
)

LANE_OF: dict[type[Record], Lane] = {
    ProfileRecord: Lane.METRIC,
    HealthRecord: Lane.METRIC,
    FeedbackRecord: Lane.METRIC,
    UpdateRecord: Lane.STATE,
    EventRecord: Lane.ALERT,
    SampleRecord: Lane.SAMPLE,
}

KIND_OF: dict[type[Record], str] = {
    record: str(record.__struct_config__.tag) for record in LANE_OF
}
"""The ``kind`` that each record has on the wire."""
