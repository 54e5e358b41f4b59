"""Control messages: presence, the twin, acknowledgements, commands, TUF metadata.

They travel as plain JSON, readable with ``mosquitto_sub``. What tells a device to do
something (:class:`Assignment`, :class:`Command`) travels inside a signed
:class:`~edge_agent.wire.envelope.Envelope`.
"""

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from edge_agent.wire.topics import Lane
from edge_agent.wire.types import (
    BootId,
    Code,
    Count,
    DeviceId,
    Instant,
    Labels,
    Message,
    Ratio,
    ReleaseNumber,
    Seconds,
    Seq,
    Short,
    Text,
    prepare,
)
from edge_agent.wire.version import PROTOCOL_VERSION

LEFT_OUT = {
    "": "nothing",
    "shadow": "the shadow",
    "bulk": "the shadow and files",
    "samples": "the shadow, files and most samples of its sources",
}
"""What a device that is too hot or held back leaves out, by level."""


PAIRED_TEST = "paired-test"
"""The capability of an agent that says on what evidence it commits a release."""


class Presence(Message, frozen=True, kw_only=True):
    """Retained birth of a device process, or its last will (``online`` false).

    A will carries the boot id of the process it speaks for: the will of an old
    process says nothing about the present one.
    """

    device: DeviceId
    boot: BootId
    online: bool
    at: Instant
    protocol: Count = PROTOCOL_VERSION
    agent: Short = ""
    runtime: Short = ""
    hardware: Short = ""
    labels: Labels = {}
    capabilities: Annotated[list[Short], Meta(max_length=32)] = []


class TufVersions(Message, frozen=True, kw_only=True):
    """Versions of the TUF metadata that a device trusts (0: none yet)."""

    root: Count = 0
    timestamp: Count = 0
    snapshot: Count = 0
    targets: Count = 0


class Obstacle(Message, frozen=True, kw_only=True):
    """What keeps a device's updates from going on while it tries again."""

    code: Code
    text: Text = ""


class Reported(Message, frozen=True, kw_only=True):
    """Retained twin: what is really loaded, not what was asked for.

    ``release`` and ``sha256`` are those of the interpreter that answers requests
    (0 and ``""``: none; 0 with a digest: the factory model). ``version`` rises with
    every report of one boot. Until ``penalty_until`` the device takes up no release
    that is new to it, unless forced: two failed within a day. ``clock_untrusted``:
    its clock cannot be right, so expiry is judged by the newest hub-signed time.
    ``pinned``: a person at the device wants the release to stay; others wait.
    ``obstacle``: what its updates have waited for beyond a moment. ``shedding``: what
    it leaves out now because of heat or its quota: ``shadow``, ``bulk`` or ``samples``,
    each with those before it. ``api``: where its local API answers.
    """

    device: DeviceId
    boot: BootId
    version: Count
    at: Instant
    release: ReleaseNumber
    sha256: Annotated[str, Meta(max_length=64)] = ""
    previous: ReleaseNumber = 0
    phase: Short = "IDLE"
    assignment_seq: Count = 0
    tuf: TufVersions = TufVersions()
    quarantined: Annotated[list[ReleaseNumber], Meta(max_length=64)] = []
    penalty_until: Instant | UnsetType = UNSET
    clock_untrusted: bool | UnsetType = UNSET
    pinned: bool | UnsetType = UNSET
    obstacle: Obstacle | UnsetType = UNSET
    shedding: Short | UnsetType = UNSET
    api: Annotated[list[Text], Meta(max_length=8)] | UnsetType = UNSET


class ProbationPolicy(Message, frozen=True, kw_only=True):
    """How long and by what limits a device watches a release that it activated.

    Limits are relative to the device's own figures before the swap: a release is not
    blamed for what was so already. ``class_shift_max`` bounds the total variation
    distance (0 to 1) between predicted classes and the release's reference profile,
    ``confidence_drop_max`` how far mean confidence may fall.
    """

    min_predictions: Count = 60
    min_s: Seconds = 2.0
    deadline_s: Seconds = 120.0
    error_ratio_max: Ratio = 0.02
    latency_ratio_max: Annotated[float, Meta(ge=1, le=1000)] = 3.0
    class_shift_max: Ratio = 0.5
    confidence_drop_max: Ratio = 0.3


class ShadowPolicy(Message, frozen=True, kw_only=True):
    """How a device tries a release beside the one that answers, before it may answer.

    ``sample_ratio`` of the requests are given to both. Limits hold from
    ``min_samples`` pairs on: ``disagreement_max`` bounds the share of other classes
    (1: any; a release that repairs drift rightly disagrees), ``confidence_drop_max``
    how far mean confidence may be below the active release's, ``latency_ratio_max``
    median against median, all on the same samples (a thread that wakes for each makes
    a model of a few microseconds look three times as slow). A device that is too quiet
    for that goes on at ``deadline_s``.
    """

    sample_ratio: Annotated[float, Meta(gt=0, le=1)] = 0.1
    min_samples: Count = 50
    min_s: Seconds = 2.0
    deadline_s: Seconds = 300.0
    error_ratio_max: Ratio = 0.02
    disagreement_max: Ratio = 1.0
    confidence_drop_max: Ratio = 0.3
    latency_ratio_max: Annotated[float, Meta(ge=1, le=1000)] = 10.0


class PairedPolicy(Message, frozen=True, kw_only=True):
    """Limits of the paired test, in which two releases answer the same samples.

    A candidate fails if it fails on more than ``failures_max`` of 256 samples beyond
    those that the incumbent fails on (in proportion from ``min_samples`` on), if its
    answers explain less than ``association_min`` of the incumbent's entropy, if its
    mean confidence is more than ``confidence_drop_max`` below the incumbent's beyond
    what the release publishes, or if it takes more than ``latency_ratio_max`` times as
    long, as the median over samples. Below ``min_samples``, or where the incumbent's
    answers vary by less than ``entropy_min`` nats, the test is inconclusive, and so it
    is if it has not ended by ``deadline_s`` through no fault of the candidate.
    """

    failures_max: Count = 5
    association_min: Ratio = 0.10
    entropy_min: Annotated[float, Meta(ge=0, le=64)] = 0.35
    confidence_drop_max: Ratio = 0.15
    latency_ratio_max: Annotated[float, Meta(ge=1, le=1000)] = 2.0
    min_samples: Count = 64
    deadline_s: Seconds = 60.0


class Assignment(Message, frozen=True, kw_only=True):
    """What one device shall run. The newest ``seq`` wins; older ones are ignored.

    ``release`` must also be authentic by TUF, as target ``target``.
    ``artifacts_url`` is where artifacts are fetched by sha256. With ``paired`` the
    release and the active one first answer the device's own samples; with ``shadow``
    the release then runs beside the active one; ``forced`` overrides that the release
    failed here before, or that too much failed here lately.
    """

    device: DeviceId
    seq: Seq
    release: Annotated[int, Meta(ge=1, le=2**31)]
    target: Short
    rollout: Short
    issued_at: Instant
    artifacts_url: Text
    probation: ProbationPolicy = ProbationPolicy()
    shadow: ShadowPolicy | UnsetType = UNSET
    forced: bool | UnsetType = UNSET
    paired: PairedPolicy | UnsetType = UNSET


class CollectSamples(Message, frozen=True, kw_only=True, tag="collect"):
    """Ask for the inputs of predictions from now on that get a label, by consent."""

    max_samples: Annotated[int, Meta(ge=1, le=10_000)]
    reason: Text = ""


class StopCollecting(Message, frozen=True, kw_only=True, tag="stop_collecting"):
    """End a collection before its maximum is reached."""


class Command(Message, frozen=True, kw_only=True):
    """A request to one device; void after ``expires_at``, or when ``id`` is old."""

    device: DeviceId
    id: Seq
    expires_at: Instant
    action: CollectSamples | StopCollecting


class Ack(Message, frozen=True, kw_only=True):
    """The hub has committed every record of a stream up to and including ``upto``.

    ``gap`` tells that a batch above ``upto + 1`` came: the device rewinds. ``ask`` is
    that of the newest question which it answers.
    """

    boot: BootId
    lane: Lane
    upto: Count
    gap: bool = False
    ask: Count | UnsetType = UNSET


class TufBundle(Message, frozen=True, kw_only=True):
    """All current TUF metadata by file name (``1.root.json``, …)."""

    files: Annotated[
        dict[Short, Annotated[str, Meta(max_length=1 << 18)]], Meta(max_length=256)
    ]


prepare(Presence, Reported, Assignment, Command, Ack, TufBundle)
