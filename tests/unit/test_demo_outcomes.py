"""What a series of demo runs comes to."""

import pytest

from hub.demo.figures import Labelled, accuracy
from hub.demo.outcomes import make_repeat_report, read_outcome, summarize
from tests.fakes.demo_runs import make_report


def test_how_often_an_exercise_was_done_weighs_nothing() -> None:
    """Each recording of a device counts once, each device counts once."""
    counts: Labelled = {
        "watch-01": {"a": (30, 30), "b": (0, 300)},
        "watch-02": {"a": (10, 10), "b": (10, 10)},
    }
    assert accuracy(counts) == pytest.approx(0.75)
    assert accuracy({}) is None


def test_a_run_that_failed_names_its_act_its_reason_and_its_folder() -> None:
    """Of a run that passed nothing is named, and no folder is kept."""
    failed = read_outcome(make_report(ok=False), loaded=True, folder="/runs/1")
    passed = read_outcome(make_report(), loaded=False, folder="/runs/2")

    assert (failed.failed_act, failed.why) == ("release-2", "[2 of 2] failed")
    assert (failed.folder, failed.lost, failed.loaded) == ("/runs/1", 2, True)
    assert (passed.failed_act, passed.why, passed.folder) == ("", "", "")


def test_records_that_could_not_be_counted_are_not_said_to_be_complete() -> None:
    """Without an account, nothing is known of losses."""
    report = make_report(ok=False)
    uncounted = type(report)(
        **{
            **{name: getattr(report, name) for name in report.__struct_fields__},
            "records": type(report.records)(),
        }
    )
    assert read_outcome(uncounted, loaded=False, folder="").lost is None


def test_the_pass_rate_has_wilsons_interval() -> None:
    """19 of 20: 0.764 to 0.991 (Wilson, 1927), and medians have their ranges."""
    runs = [
        read_outcome(
            make_report(ok=seed != 7, seed=seed, left_after=0.7 + seed / 100),
            loaded=False,
            folder="",
        )
        for seed in range(1, 21)
    ]
    found = summarize(runs)

    assert (found.passed, found.runs, found.rate) == (19, 20, 0.95)
    assert found.rate_low == pytest.approx(0.764, abs=0.001)
    assert found.rate_high == pytest.approx(0.991, abs=0.001)
    assert found.good_releases_stopped == 1
    spread = found.figures["left_after"]
    assert spread.n == 20
    assert (spread.low, spread.high) == pytest.approx((0.71, 0.9))
    assert spread.median == pytest.approx(0.805)


def test_a_series_is_ok_only_when_every_run_came_and_passed() -> None:
    """An interrupted series of passes is not a pass."""
    run = read_outcome(make_report(), loaded=False, folder="")
    bad = read_outcome(make_report(ok=False), loaded=True, folder="")

    assert make_repeat_report("turns", 2, [run, run]).ok
    assert not make_repeat_report("turns", 3, [run, run]).ok
    mixed = make_repeat_report("turns", 2, [run, bad])
    assert not mixed.ok
    assert {name: one.runs for name, one in mixed.summaries.items()} == {
        "all": 2,
        "alone": 1,
        "under load": 1,
    }
