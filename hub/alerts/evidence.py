"""What an alert rests on: stored with it as JSON, shown to people, read by retrain."""

from typing import Annotated

from msgspec import Meta

from edge_agent.wire.control import TufVersions
from edge_agent.wire.types import Count, DeviceId, Instant, Message, Ratio, Short, Text

MAX_DEVICES = 1000
MAX_CHANNELS = 32


class DriftingDevice(Message, frozen=True, kw_only=True):
    """One device, its statistic, and the channel that moved most."""

    device: DeviceId
    statistic: float
    channel: Short
    psi: float
    confidence_change: float | None = None


class DriftingChannel(Message, frozen=True, kw_only=True):
    """A channel, its median PSI over the drifting devices, and on how many it moved."""

    name: Short
    psi: float
    devices: Count


class DriftEvidence(Message, frozen=True, kw_only=True, tag="drift"):
    """Devices of a cohort that moved away from their own past.

    ``threshold`` and ``effect_min`` are the limits; ``placements`` the clean pairs of
    blocks that the threshold was calibrated on. ``confidence_change`` is the mean over
    the drifting devices. ``cohort_devices`` are those that were heard lately,
    ``needed`` is the share of them; ``unheard`` are the others.
    """

    cohort_devices: Count
    needed: Count
    devices: Annotated[list[DriftingDevice], Meta(max_length=MAX_DEVICES)]
    channels: Annotated[list[DriftingChannel], Meta(max_length=MAX_CHANNELS)]
    windows: Count
    since_at: Instant
    until_at: Instant
    threshold: float
    effect_min: float
    placements: Count
    confidence_change: float | None = None
    unheard: Count = 0


class AccuracyEvidence(Message, frozen=True, kw_only=True, tag="accuracy"):
    """Labels that show a drop: own first error ratio, the newest, and the detector.

    ``fired_at`` is when the prediction was made whose label made it fire.
    """

    labels: Count
    baseline_error: Ratio
    accuracy: Ratio
    accuracy_low: Ratio
    accuracy_high: Ratio
    newest_labels: Count
    statistic: float
    threshold: float
    fired_label: Count
    fired_at: Instant


class CloneEvidence(Message, frozen=True, kw_only=True, tag="clone"):
    """Two devices use one id: what showed it (``sign``), how often, since when."""

    device: DeviceId
    sign: Short
    detail: Text
    times: Count
    first_at: Instant
    last_at: Instant


class MetadataEvidence(Message, frozen=True, kw_only=True, tag="metadata"):
    """Versions that a device trusts, those that the hub signed, and since when."""

    device: DeviceId
    trusts: TufVersions
    signed: TufVersions
    since_at: Instant


class ExpiryEvidence(Message, frozen=True, kw_only=True, tag="expiry"):
    """A role whose metadata only a person can sign again."""

    role: Short
    expires_at: Instant


class ClockEvidence(Message, frozen=True, kw_only=True, tag="clock"):
    """What the system's clock says, and what is known of the time instead."""

    clock: Instant
    known: Instant


class FailedDevice(Message, frozen=True, kw_only=True):
    """A device that found the release it runs worse, with the limit that it broke."""

    device: DeviceId
    code: Short = ""
    detail: Text = ""


class LateEvidence(Message, frozen=True, kw_only=True, tag="late_evidence"):
    """Devices whose samples speak against a release that they had committed."""

    devices: Annotated[list[FailedDevice], Meta(max_length=MAX_DEVICES)]


class OveruseEvidence(Message, frozen=True, kw_only=True, tag="overuse"):
    """A device that sends more than it may, and what became of that, on one day (UTC).

    ``refused`` counts messages that were not taken (the device keeps what is in them),
    ``deleted_records`` and ``deleted_bytes`` what the quota has deleted again.
    """

    device: DeviceId
    day_at: Instant
    kept_bytes: Count
    refused: Count
    deleted_records: Count
    deleted_bytes: Count


class RejectingDevice(Message, frozen=True, kw_only=True):
    """A device that accepts no sample: how many it rejected since when, and why most.

    ``since_at`` is the hub's time.
    """

    device: DeviceId
    rejected: Count
    reason: Short = ""
    since_at: Instant


class NoDataEvidence(Message, frozen=True, kw_only=True, tag="no_data"):
    """Devices of a cohort that reject every sample, of ``heard`` that send any."""

    devices: Annotated[list[RejectingDevice], Meta(max_length=MAX_DEVICES)]
    heard: Count


class SetAsideEvidence(Message, frozen=True, kw_only=True, tag="set_aside"):
    """A device sent what the hub cannot use: the newest reason, how often, when."""

    device: Short
    reason: Text
    times: Count
    last_at: Instant


Evidence = (
    DriftEvidence
    | AccuracyEvidence
    | CloneEvidence
    | MetadataEvidence
    | ExpiryEvidence
    | ClockEvidence
    | LateEvidence
    | OveruseEvidence
    | NoDataEvidence
    | SetAsideEvidence
)
