"""Bundles and releases: what is shipped, what it needs, and where it comes from.

A **bundle** is an unsigned folder that the trainer writes: ``bundle.json`` (a
:class:`Bundle`) and the files it names. A **release** is a numbered bundle that the
hub signed: ``release.json`` (a :class:`Release`) is a TUF target, as is every
:attr:`FileRef` that a device needs (``Bundle.device_files``).
"""

from typing import Annotated

from msgspec import Meta

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
)

BUNDLE_FORMAT = 1
BUNDLE_FILE = "bundle.json"
RELEASE_FILE = "release.json"
MAX_ARTIFACT_BYTES = 256 << 20

FileName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Figures = Annotated[dict[Short, float], Meta(max_length=256)]


class FileRef(Message, frozen=True, kw_only=True):
    """A file of a bundle: its name in the folder, digest and length."""

    name: FileName
    sha256: Sha256
    bytes: Annotated[int, Meta(ge=0, le=MAX_ARTIFACT_BYTES)]


class TensorContract(Message, frozen=True, kw_only=True):
    """A tensor of the model. ``shape`` is without the leading batch axis (always 1)."""

    name: Short
    dtype: Annotated[str, Meta(pattern=r"^(float32|int8|uint8)$")] = "float32"
    shape: Annotated[list[Annotated[int, Meta(ge=1)]], Meta(max_length=8)]


class InputContract(Message, frozen=True, kw_only=True):
    """What a sample must look like to be inferred at all.

    ``low`` and ``high`` are hard physical limits; one value outside, or one that is
    not finite, and the sample is rejected and counted. ``axes`` names the last axis.
    A sample is a window of ``shape[0]`` rows of a stream at ``rate_hz``, taken every
    ``hop`` rows (0: the input is not a window of a stream).
    """

    tensor: TensorContract
    axes: Annotated[list[Short], Meta(max_length=64)] = []
    low: float = -1e9
    high: float = 1e9
    rate_hz: Annotated[float, Meta(ge=0)] = 0.0
    hop: Count = 0


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

    ``outputs`` holds the probabilities first; any further outputs are for monitoring.
    ``calibration`` (never sent to devices) holds contiguous blocks of channel values
    of held-out data, from which the hub calibrates its drift thresholds.
    """

    format: int = BUNDLE_FORMAT
    name: Name
    task: Name
    variant: Short
    input: InputContract
    outputs: Annotated[list[TensorContract], Meta(min_length=1, max_length=16)]
    labels: Annotated[list[Short], Meta(min_length=2, max_length=256)]
    model: FileRef
    reference: FileRef
    golden: FileRef
    calibration: FileRef
    card: FileRef
    budget: Budget = Budget()
    metrics: Figures = {}
    accuracy: Ratio = 0.0
    gate: GateReport
    provenance: Provenance

    @property
    def device_files(self) -> tuple[FileRef, ...]:
        """The files a device needs, in the order of fetching."""
        return (self.model, self.reference, self.golden)

    @property
    def files(self) -> tuple[FileRef, ...]:
        """All files of the bundle besides ``bundle.json`` itself."""
        return (*self.device_files, self.calibration, self.card)


class Release(Message, frozen=True, kw_only=True):
    """A numbered bundle; authentic when TUF vouches for these very bytes."""

    release: Annotated[int, Meta(ge=1, le=2**31)]
    created_at: Instant
    bundle: Bundle


def release_target(name: str, release: int) -> str:
    """Path of a release's manifest among the TUF targets."""
    return f"models/{name}/{release}/{RELEASE_FILE}"


def file_target(name: str, release: int, file: FileRef) -> str:
    """Path of one of a release's files among the TUF targets."""
    return f"models/{name}/{release}/{file.name}"
