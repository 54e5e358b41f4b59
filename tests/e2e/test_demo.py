"""The loop closes: the demo's own report, checked figure by figure."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module", params=["turns", "sessions"])
def report(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """Play the demo once with each sensor and return its report."""
    folder = tmp_path_factory.mktemp("demo")
    path = folder / "demo-report.json"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "hub", "demo"),
            *("--folder", str(folder / "run"), "--report", str(path)),
            *("--sensor", request.param),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def test_every_act_did_what_it_should(report: dict[str, Any]) -> None:
    """The demo judges itself, act by act."""
    assert report["ok"]
    assert all(act["ok"] for act in report["acts"])


def test_drift_is_alerted_for_the_half_that_moved_only(report: dict[str, Any]) -> None:
    """Profiles raise the alarm before labels do, and nowhere else.

    With sessions the second halves of the recordings may look like a drift too: that
    none was alerted before them is what an act checks.
    """
    assert report["alerts"]["left"] >= 1
    assert report["alerts"]["right"] == 0 or report["sensor"] == "sessions"
    assert report["alert_before_labels"]


def test_release_2_recovers_the_left_arm_and_keeps_the_right(
    report: dict[str, Any],
) -> None:
    """At least 25 points gained on the left, on the right none surely beyond 3 lost."""
    first, second = (report["accuracy"][f"release_{n}"] for n in (1, 2))

    assert second["left"] >= first["left"] + 0.25
    assert report["right_loss_at_least"] <= 0.03


def test_the_bad_release_is_on_no_device_in_the_end(report: dict[str, Any]) -> None:
    """The canary stopped it and went back without an operator."""
    assert report["devices_on_release"] == {"1": 0, "2": 8, "3": 0}
    assert report["devices_by_phase"]["release_1"] == {"1": 8}
    assert report["rollouts"]["release_3"] == "ROLLED_BACK"


def test_the_bad_release_never_left_the_canary(report: dict[str, Any]) -> None:
    """It was active on two devices at most, and no good release was stopped."""
    assert len(report["bad_release_devices"]) <= 2
    assert not report["good_release_stopped"]


def test_release_2_came_as_a_patch_where_one_was_smaller(
    report: dict[str, Any],
) -> None:
    """Every device that ran its base made the model from it."""
    delta = report["deltas"]["release_2"]

    assert delta["patch_bytes"] < delta["whole_bytes"]
    assert delta["devices"] == (8 if delta["patch_bytes"] else 0)


def test_every_record_arrived_and_none_twice(report: dict[str, Any]) -> None:
    """What the devices committed is what the hub has."""
    records = report["records"]

    assert records["received"] == records["produced"] > 1000
    assert records["duplicates"] == 0
