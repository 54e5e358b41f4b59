"""Late labels: joined with the prediction, and with what another release answered."""

from msgspec import UNSET, UnsetType

from edge_agent.errors import WorkerError
from edge_agent.pipeline.recent import Entry, OtherAnswer
from edge_agent.wire.records import FeedbackRecord, PairedAnswer

UNKNOWN_LABEL = "AGENT-WORKER-008"


def check_label(entry: Entry, label: str) -> None:
    """Check that a label is one that the release of a prediction can tell.

    Raises:
        WorkerError: It is not (``AGENT-WORKER-008``).
    """
    if entry.labels and label not in entry.labels:
        raise WorkerError(
            UNKNOWN_LABEL,
            f"{label!r} is no label of release {entry.release}",
            cure=f"known: {', '.join(entry.labels)}"[:512],
        )
    if not entry.label:
        raise WorkerError(UNKNOWN_LABEL, f"release {entry.release} predicts no classes")


def feedback_record(
    entry: Entry, label: str, now: float, other: OtherAnswer | None
) -> FeedbackRecord:
    """Return the record of a label, with the other release's answer if it is a pair.

    It is one only where both releases could have answered with the true label.
    """
    return FeedbackRecord(
        at=now,
        sample_id=entry.sample_id,
        release=entry.release,
        predicted=entry.label,
        label=label,
        correct=entry.label == label,
        confidence=min(max(entry.confidence, 0.0), 1.0),
        predicted_at=entry.at,
        other=_paired(entry, label, other),
    )


def _paired(
    entry: Entry, label: str, other: OtherAnswer | None
) -> PairedAnswer | UnsetType:
    if other is None or label not in entry.labels or label not in other.labels:
        return UNSET
    return PairedAnswer(
        release=other.release,
        predicted=other.predicted,
        correct=other.predicted == label,
    )
