"""Late labels reach the worker's predictions, and only those of known recordings."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.labels import LabelsError, LateLabels, read_labels
from edge_agent.wire.records import FeedbackRecord
from edge_agent.wire.topics import Lane
from tests.fakes.worker_device import LABELS, Device, samples


class HandClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        """Start at zero."""
        self.now = 0.0

    def wall(self) -> float:
        """Return the time."""
        return self.now

    def mono(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    """A device whose worker runs and is ended with the test."""
    made = Device(tmp_path)
    made.start()
    yield made
    made.kill()


def test_a_label_is_told_once_its_time_has_come(device: Device) -> None:
    """Before the delay nothing is told; after it every known recording's label is."""
    clock = HandClock()
    late = LateLabels(device.client, {"walk": LABELS[2]}, 10.0, clock)
    for place, sample in enumerate(samples(4)):
        recording = "walk" if place < 3 else "unknown"
        device.client.infer(f"{recording}@{place}#0", sample)

    assert late.step() == 0
    clock.now = 9.9
    assert late.step() == 0
    clock.now = 10.0
    assert late.step() == 3
    assert late.step() == 0

    assert device.stop() == 0
    told = [r for r in device.records(Lane.METRIC) if isinstance(r, FeedbackRecord)]
    assert [r.sample_id for r in told] == ["walk@0#0", "walk@1#0", "walk@2#0"]
    assert {r.label for r in told} == {LABELS[2]}


def test_a_file_of_labels_that_is_none_is_named_with_a_cure(tmp_path: Path) -> None:
    """Missing, not JSON, or not an object of texts."""
    bad = tmp_path / "labels.json"
    for text in (None, "[", '{"a": 1}'):
        if text is not None:
            bad.write_text(text, "utf-8")
        with pytest.raises(LabelsError, match="AGENT-LABELS-001"):
            read_labels(bad)
