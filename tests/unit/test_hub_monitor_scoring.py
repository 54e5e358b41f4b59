"""A device's history: which windows are its baseline, which are new."""

import random

import numpy as np

from edge_agent.wire.profile import ProfileData, ReferenceProfile
from hub.alerts.machine import Condition
from hub.config import MonitorConfig
from hub.monitor.calibrate import calibrate
from hub.monitor.observe import Member, observe_drift
from hub.monitor.scoring import (
    History,
    Position,
    Verdict,
    Window,
    rows_of,
    score_device,
)


def window(seq: int, *, start: int = 0, rows: int = 100, rejected: int = 0) -> Window:
    """Return a window without channels."""
    return Window(
        position=Position(start, seq),
        start_at=float(seq),
        end_at=float(seq + 1),
        data=ProfileData(rows=rows, counts=[], rejected={"range": rejected}),
    )


def test_first_windows_are_the_baseline_and_the_newest_are_recent() -> None:
    """The baseline stays, the recent windows move on, and no window is in both."""
    history = History(baseline_rows=250, recent_rows=150)
    for seq in range(1, 11):
        history.add(window(seq))

    assert [w.position.seq for w in history.baseline] == [1, 2, 3]
    assert [w.position.seq for w in history.recent] == [9, 10]


def test_a_later_start_is_later_though_its_numbers_begin_anew() -> None:
    """Windows are ordered by start of the device first, then by number."""
    history = History(baseline_rows=100, recent_rows=200)
    for start, seq in [(0, 7), (1, 2), (0, 9), (1, 1)]:
        history.add(window(seq, start=start))

    assert [w.position for w in history.recent] == [(1, 1), (1, 2)]


def test_windows_of_mostly_bad_samples_are_no_baseline() -> None:
    """A window with more rejected than accepted samples does not set the norm."""
    history = History(baseline_rows=100, recent_rows=100)

    assert not history.add(window(1, rejected=101))
    assert not history.add(window(2, rows=0))
    assert history.add(window(3, rejected=100))
    assert rows_of(history.baseline) == 100


def test_order_of_arrival_after_the_baseline_does_not_matter() -> None:
    """Late windows end up in their place."""
    for seed in range(20):
        rest = [window(seq) for seq in range(4, 12)]
        random.Random(seed).shuffle(rest)
        history = History(baseline_rows=250, recent_rows=350)
        for each in [window(1), window(2), window(3), *rest]:
            history.add(each)

        assert [w.position.seq for w in history.recent] == [8, 9, 10, 11], seed


def test_a_release_without_channels_is_unknown_and_never_clean() -> None:
    """Nothing is watched, so however much came says nothing."""
    reference = ReferenceProfile(
        model="pump", channels=[], data=ProfileData(rows=0, counts=[])
    )
    thresholds = calibrate(
        reference, np.empty((0, 0)), [], baseline_rows=100, recent_rows=100
    )
    history = History(baseline_rows=100, recent_rows=100)
    for seq in range(1, 9):
        history.add(window(seq))

    score = score_device([], thresholds, history)

    assert (thresholds.scales, thresholds.placements) == ([], 0)
    assert score.verdict is Verdict.TOO_LITTLE
    assert (score.baseline_rows, score.recent_rows) == (100, 100)
    members = [Member(device=f"d{n}", score=score) for n in range(4)]
    seen = observe_drift(1, "all", members, thresholds, MonitorConfig())
    assert seen.condition is Condition.UNKNOWN
