"""Bundles and releases: what is shipped, what it needs, and where it comes from.

A **bundle** is an unsigned folder that the trainer writes: ``bundle.json`` (a
:class:`Bundle`) and the files it names. A **release** is a numbered bundle that the
hub signed: ``release.json`` (a :class:`Release`) is a TUF target, as is every
:attr:`FileRef` that a device needs (``Bundle.device_files``).
"""

from enum import StrEnum
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from edge_agent.wire.types import (
    Count,
    Instant,
    Labels,
    Message,
    Name,
    Ratio,
    ReleaseNumber,
    Sha256,
    Short,
    Text,
    prepare,
)

BUNDLE_FORMAT = 1
BUNDLE_FILE = "bundle.json"
RELEASE_FILE = "release.json"
MAX_ARTIFACT_BYTES = 256 << 20
MAX_LABELS = 4096
CONFIDENCE_DROP = "confidence_drop"
"""The figure of a bundle that tells by how much its mean confidence on held-out data is
below the incumbent's."""

FileName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}\Z")]
NumberType = Annotated[
    str, Meta(pattern=r"^(float(16|32|64)|u?int(8|16|32|64)|bool)\Z")
]
"""NumPy's name of a number format that devices serve."""
Figures = Annotated[dict[Short, float], Meta(max_length=256)]


class FileRef(Message, frozen=True, kw_only=True):
    """A file of a bundle: its name in the folder, digest and length."""

    name: FileName
    sha256: Sha256
    bytes: Annotated[int, Meta(ge=0, le=MAX_ARTIFACT_BYTES)]


class TensorContract(Message, frozen=True, kw_only=True):
    """A tensor as samples and answers have it, which for a quantized one is float32.

    ``shape`` is without the leading batch axis (always 1), where there is one.
    """

    name: Short
    dtype: NumberType = "float32"
    shape: Annotated[list[Annotated[int, Meta(ge=1)]], Meta(max_length=8)]


class AnswerKind(StrEnum):
    """What the first output says."""

    PROBABILITIES = "probabilities"
    """One probability a label."""
    LOGITS = "logits"
    """One number a label; softmax makes probabilities of them."""
    SIGMOID = "sigmoid"
    """One number: the probability of the second of two labels."""
    VALUES = "values"
    """No classes: all outputs are the answer, and there are no labels."""


class InputContract(Message, frozen=True, kw_only=True):
    """What a sample must look like to be inferred at all.

    ``low`` and ``high`` are hard physical limits; one value outside, or one that is
    not finite, and the sample is rejected and counted. ``axes`` names the last axis.
    A sample is a window of ``shape[0]`` rows of a stream at ``rate_hz``, taken every
    ``hop`` rows (0: the input is not a window of a stream). An axis that has the same
    value in ``flat_rows`` rows in a row is a sensor that is stuck, and rejected too.
    """

    tensor: TensorContract
    axes: Annotated[list[Short], Meta(max_length=64)] = []
    low: float = -1e9
    high: float = 1e9
    rate_hz: Annotated[float, Meta(ge=0)] = 0.0
    hop: Count = 0
    flat_rows: Annotated[int, Meta(ge=2, le=1 << 22)] | UnsetType = UNSET


class Budget(Message, frozen=True, kw_only=True):
    """What a device may spend on this model; the self-test checks it."""

    latency_us: Annotated[float, Meta(gt=0)] = 50_000.0
    rss_bytes: Count = 512 << 20


class GateCheck(Message, frozen=True, kw_only=True):
    """One comparison of the gate: observed against its limit, and the evidence."""

    name: Short
    ok: bool
    observed: float
    limit: float
    n: Count = 0
    detail: Text = ""


class GateReport(Message, frozen=True, kw_only=True):
    """What the gate measured with the device's interpreter, and what it said."""

    ok: bool
    checks: Annotated[list[GateCheck], Meta(max_length=64)] = []
    incumbent: ReleaseNumber = 0


class Provenance(Message, frozen=True, kw_only=True):
    """From what, with what and by which settings a bundle was made."""

    created_at: Instant
    data: dict[Short, Sha256] = {}
    seeds: dict[Short, int] = {}
    versions: Labels = {}
    settings: dict[Short, Text] = {}


class Bundle(Message, frozen=True, kw_only=True):
    """An unsigned release candidate.

    The first of ``outputs`` is what ``answer`` says it is; any further outputs are for
    monitoring, or part of the answer where there are no classes. A model with several
    inputs names them in ``extra_inputs``, in order.
    ``calibration`` (never sent to devices) holds contiguous blocks of channel values
    of held-out data, from which the hub calibrates its drift thresholds. ``weights``
    (never sent to devices either) is the net before conversion, for who trains on.
    """

    format: int = BUNDLE_FORMAT
    name: Name
    task: Name
    variant: Short
    input: InputContract
    extra_inputs: Annotated[list[InputContract], Meta(max_length=15)] | UnsetType = (
        UNSET
    )
    outputs: Annotated[list[TensorContract], Meta(min_length=1, max_length=16)]
    answer: AnswerKind | UnsetType = UNSET
    labels: Annotated[list[Short], Meta(max_length=MAX_LABELS)] = []
    model: FileRef
    reference: FileRef
    golden: FileRef
    calibration: FileRef
    card: FileRef
    weights: FileRef | UnsetType = UNSET
    budget: Budget = Budget()
    metrics: Figures = {}
    accuracy: Ratio = 0.0
    gate: GateReport
    provenance: Provenance

    def __post_init__(self) -> None:
        """Refuse labels that do not fit the kind of answer.

        Raises:
            ValueError: They do not; a decoder names the place.
        """
        if self.kind is AnswerKind.VALUES:
            if self.labels:
                raise ValueError("a model that answers with values has no labels")
        elif len(self.labels) < 2:  # noqa: PLR2004 - of one class nothing is told
            raise ValueError("a model that answers with a class has two labels or more")

    @property
    def inputs(self) -> tuple[InputContract, ...]:
        """All inputs, in order."""
        extra = () if isinstance(self.extra_inputs, UnsetType) else self.extra_inputs
        return (self.input, *extra)

    @property
    def kind(self) -> AnswerKind:
        """What the first output says; probabilities where the bundle does not tell."""
        if isinstance(self.answer, UnsetType):
            return AnswerKind.PROBABILITIES
        return self.answer

    @property
    def published_confidence_drop(self) -> float:
        """How much less confident it says to be than its incumbent, 0 to 1."""
        return min(max(self.metrics.get(CONFIDENCE_DROP, 0.0), 0.0), 1.0)

    @property
    def device_files(self) -> tuple[FileRef, ...]:
        """The files a device needs, in the order of fetching."""
        return (self.model, self.reference, self.golden)

    @property
    def files(self) -> tuple[FileRef, ...]:
        """All files of the bundle besides ``bundle.json`` itself."""
        known = (*self.device_files, self.calibration, self.card)
        return known if self.weights is UNSET else (*known, self.weights)


class Release(Message, frozen=True, kw_only=True):
    """A numbered bundle; authentic when TUF vouches for these very bytes."""

    release: Annotated[int, Meta(ge=1, le=2**31)]
    created_at: Instant
    bundle: Bundle


def release_target(name: str, release: int) -> str:
    """Path of a release's manifest among the TUF targets."""
    return f"models/{name}/{release}/{RELEASE_FILE}"


def delta_name(base_sha256: str) -> str:
    """File name of a patch; ``base_sha256`` is empty for one that needs no base."""
    return f"delta-{base_sha256[:32] or 'any'}"


def delta_target(name: str, release: int, base_sha256: str) -> str:
    """Path of the patch from a base to a release's model among the TUF targets."""
    return f"models/{name}/{release}/{delta_name(base_sha256)}"


def file_target(name: str, release: int, file: FileRef) -> str:
    """Path of one of a release's files among the TUF targets."""
    return f"models/{name}/{release}/{file.name}"


prepare(Bundle, Release)
