"""Rollouts that read three outcomes, over a real database and the command line."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result
from msgspec import UNSET
from sqlalchemy import insert, update

from edge_agent.wire.batch import Rows
from edge_agent.wire.records import FeedbackRecord, PairedAnswer, PairedSummary
from edge_agent.wire.topics import Lane
from hub.cli import cli
from hub.config import Home
from hub.errors import ConflictError
from hub.service import open_services
from hub.storage import rollouts as store
from hub.storage.db import transaction
from hub.storage.records import write_labels
from hub.storage.streams import StreamKey
from hub.storage.tables import FEEDBACK, ROLLOUTS
from tests.fakes.hub_fleet import BOOT, Fleet, TestClock, publish_three
from tests.hub_records import plant

PAIRED = PairedSummary(
    release=2,
    incumbent=1,
    result="ok",
    source="ring",
    n=256,
    statistic="theil_u",
    association=0.8,
    latency_ratio=1.1,
)
ARM = tuple(f"arm{n}" for n in range(4))
X86 = tuple(f"x86-{n}" for n in range(8))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home folder with three published releases, to be copied."""
    return publish_three(tmp_path_factory.mktemp("published"))


@pytest.fixture
def fleet(published: Path, tmp_path: Path) -> Iterator[Fleet]:
    """Return a fleet of two hardware classes on release 1."""
    shutil.copytree(published, tmp_path / "home")
    clock = TestClock()
    services = open_services(Home(tmp_path / "home"), clock)
    made = Fleet(services, clock)
    made.birth(*ARM, hardware="armv7")
    made.birth(*X86, hardware="x86")
    made.complete(1)
    yield made
    services.engine.dispose()


def run(fleet: Fleet, *words: str) -> Result:
    """Run the hub's command line on the fleet's home folder."""
    home = str(fleet.services.home.path)
    return CliRunner().invoke(cli, ["--home", home, *words])


def report_all(fleet: Fleet, evidence: str = "conclusive", *, but: str = "") -> None:
    """Let all devices but one that got release 2 commit it."""
    for device in fleet.told(2) - {but}:
        fleet.report(device, 2, evidence=evidence, paired=PAIRED)


def test_assignments_ask_for_a_paired_test(fleet: Fleet) -> None:
    """Every device that gets a release tests it first; a way back does not."""
    service = fleet.services.rollouts
    rollout = service.start(2, stages=(1.0,))
    service.tick()
    told = fleet.desired("arm0")
    assert told is not None
    assert told.paired is not UNSET
    assert told.paired.latency_ratio_max == pytest.approx(2.0)

    service.abort(rollout, "because")
    service.tick()
    back = fleet.desired("arm0")
    assert back is not None
    assert (back.release, back.paired) == (1, UNSET)


def test_a_device_without_evidence_is_waited_for_and_upgrades_itself(
    fleet: Fleet,
) -> None:
    """Its later record with evidence promotes without anybody's help."""
    service = fleet.services.rollouts
    rollout = service.start(2, stages=(1.0,))
    service.tick()
    report_all(fleet, but="arm0")
    fleet.report("arm0", 2, evidence="inconclusive", detail="12 of 60 predictions")
    service.tick()
    shown = run(fleet, "rollouts", "get", rollout).stdout
    row, given = service.get(rollout)
    assert row.state.value == "CANARY"
    assert "waiting for evidence from 1 of 12 devices until" in row.reason
    assert "arm0 (armv7)" in row.reason
    assert {one.device: one.outcome for one in given}["arm0"] == "inconclusive"
    assert "12 of 60 predictions" in shown

    fleet.report("arm0", 2, evidence="inconclusive", detail="48 of 60 predictions")
    service.tick()
    assert "48 of 60 predictions" in service.get(rollout)[0].reason
    fleet.report("arm0", 2, evidence="conclusive")
    service.tick()

    assert fleet.state(rollout) == "SOAK"
    reason = service.explain(rollout)[-1].reason
    assert "12 devices ok (armv7 4, x86 8)" in reason
    assert "paired tests of 11 devices, medians: 256 samples, theil_u 0.80" in reason


def test_a_person_approves_what_has_no_evidence(fleet: Fleet) -> None:
    """It is noted who did and why; nothing, and failures, cannot be approved."""
    service = fleet.services.rollouts
    rollout = service.start(2, stages=(1.0,))
    service.tick()
    refused = run(fleet, "rollouts", "promote", rollout, "--approve", "why not")
    assert (refused.exit_code, "HUB-ROLLOUT-007" in refused.stderr) == (5, True)
    report_all(fleet, "inconclusive")
    fleet.clock.ahead_s += 3600.0
    service.tick()
    assert fleet.state(rollout) == "HOLD"
    assert f"hub rollouts promote {rollout} --approve" in service.get(rollout)[0].reason

    assert run(fleet, "rollouts", "promote", rollout).exit_code == 2
    service.promote(rollout, why="no traffic at night", who="ann")
    service.tick()

    assert fleet.state(rollout) == "SOAK"
    reasons = [event.reason for event in service.explain(rollout)]
    assert any("approved by ann: no traffic at night" in one for one in reasons)
    assert "inconclusive (approved)" in reasons[-1]
    with pytest.raises(ConflictError):
        service.promote(rollout, why="again", who="ann")


def test_failures_cannot_be_approved(fleet: Fleet) -> None:
    """A release that is being stopped stays stopped."""
    service = fleet.services.rollouts
    rollout = service.start(2, stages=(1.0,))
    service.tick()
    for device in (*ARM, *X86[:4]):
        fleet.report(device, 1, "rolled_back")
    with pytest.raises(ConflictError, match="nobody can approve") as refused:
        service.promote(rollout, why="go on", who="ann")

    assert refused.value.code == "HUB-ROLLOUT-008"


def test_promote_untested_needs_no_person(fleet: Fleet) -> None:
    """The plan may say at the start that the deadline settles it."""
    service = fleet.services.rollouts
    started = run(
        fleet, "rollouts", "start", "2", "--stages", "1.0", "--promote-untested"
    )
    rollout = started.stdout.strip()
    service.tick()
    report_all(fleet, "inconclusive")
    service.tick()
    assert fleet.state(rollout) == "CANARY"
    fleet.clock.ahead_s += 3600.0
    service.tick()

    assert fleet.state(rollout) == "SOAK"


def test_a_class_that_always_fails_is_left_out_for_good(fleet: Fleet) -> None:
    """It gets back what it had, converging leaves it alone, and so does a way back."""
    service = fleet.services.rollouts
    rollout = service.start(2, stages=(1.0,))
    service.tick()
    for device in ARM:
        fleet.report(device, 1, "failed", code="AGENT-UPDATE-114")
    for device in X86:
        fleet.report(device, 2, evidence="conclusive")
    service.tick()
    for device in ARM:
        assert fleet.told(1) == set(ARM)
        fleet.report(device, 1)
    fleet.clock.ahead_s += 10.0
    service.tick()
    service.tick()
    assert fleet.state(rollout) == "COMPLETED"
    row, given = service.get(rollout)
    assert "left out: armv7 (4 of 4 failed: AGENT-UPDATE-114)" in row.reason
    assert {one.outcome for one in given if one.device in ARM} == {"left_out"}
    assert fleet.told(1) == set(ARM)
    shown = run(fleet, "rollouts", "get", rollout, "--json")
    assert msgspec.json.decode(shown.stdout)["left_out"].keys() == {"armv7"}

    fleet.birth("arm-new", hardware="armv7")
    service.tick()
    assert fleet.told(1) == {*ARM, "arm-new"}

    after = service.start(3, stages=(1.0,))
    service.tick()
    service.abort(after, "because")
    service.tick()
    assert fleet.told(1) == {*ARM, "arm-new"}
    assert fleet.told(2) == set(X86)


def test_a_soft_failure_gets_a_second_chance(fleet: Fleet) -> None:
    """It comes again past the device's quarantine, and is shown as retried."""
    service = fleet.services.rollouts
    rollout = service.start(2, stages=(1.0,))
    service.tick()
    first = fleet.desired("arm0")
    report_all(fleet, but="arm0")
    why = "takes 2.4 times as long"
    fleet.report("arm0", 1, "rolled_back", code="AGENT-UPDATE-113", detail=why)
    service.tick()
    again = fleet.desired("arm0")
    assert first is not None
    assert again is not None
    assert (again.release, again.forced) == (2, True)
    assert again.seq > first.seq
    assert again.paired is not UNSET
    shown = run(fleet, "rollouts", "get", rollout).stdout
    assert "retried once after" in " ".join(shown.split())
    assert "1 of them tried once more" in service.get(rollout)[0].reason
    service.tick()
    assert fleet.desired("arm0") == again

    fleet.report("arm0", 2, evidence="conclusive")
    service.tick()
    assert fleet.state(rollout) == "SOAK"


def test_a_second_soft_failure_counts(fleet: Fleet) -> None:
    """One of twelve devices is shown as failed; the rest goes on."""
    service = fleet.services.rollouts
    rollout = service.start(2, stages=(1.0,))
    service.tick()
    report_all(fleet, but="arm0")
    for _ in range(2):
        fleet.report("arm0", 1, "rolled_back", code="AGENT-UPDATE-113")
        service.tick()

    row, given = service.get(rollout)
    outcomes = {one.device: (one.outcome, one.retries) for one in given}
    assert outcomes["arm0"] == ("fail", 1)
    assert row.state.value == "SOAK"
    assert "1 of 12 devices failed: arm0 AGENT-UPDATE-113" in row.reason


def test_a_failure_after_the_commit_takes_the_release_back(fleet: Fleet) -> None:
    """The hub decides what the device, which had committed, does not."""
    service = fleet.services.rollouts
    rollout = service.start(2, stages=(1.0,))
    service.tick()
    report_all(fleet, but="arm0")
    fleet.report("arm0", 2, evidence="failed", code="AGENT-UPDATE-111")
    service.tick()
    assert fleet.told(1) == {"arm0"}
    fleet.clock.ahead_s += 10.0
    fleet.report("arm0", 1)
    service.tick()
    service.tick()

    assert fleet.state(rollout) == "COMPLETED"
    assert fleet.told(1) == {"arm0"}


def _feedback(fleet: Fleet, device: str, lost: int) -> None:
    """Let labels of 120 samples come; release 2 is wrong on ``lost`` of four."""
    rows: Rows = [
        (
            number + 1000,
            FeedbackRecord(
                at=1.0,
                sample_id=f"s{number}",
                release=2 if number % 2 else 1,
                label="a",
                predicted="a",
                correct=number % 2 == 0 or number // 2 % 4 >= lost,
                confidence=0.9,
                predicted_at=float(number),
                other=PairedAnswer(
                    release=1 if number % 2 else 2,
                    predicted="a",
                    correct=number % 2 == 1 or number // 2 % 4 >= lost,
                ),
            ),
        )
        for number in range(120)
    ]
    now = fleet.clock.wall() + 1.0
    key = StreamKey(device=device, boot=BOOT, lane=Lane.METRIC)
    with transaction(fleet.services.engine) as conn:
        plant(conn, key, rows, now)
        write_labels(conn, [(device, rows)], now)


@pytest.mark.parametrize(("lost", "state"), [(0, "SOAK"), (2, "ROLLING_BACK")])
def test_labels_on_pairs_of_both_directions_decide(
    fleet: Fleet, lost: int, state: str
) -> None:
    """Whichever release answered and whichever stood beside it."""
    service = fleet.services.rollouts
    rollout = service.start(2, stages=(1.0,))
    service.tick()
    report_all(fleet)
    for device in X86[:4]:
        _feedback(fleet, device, lost)
    service.tick()

    assert fleet.state(rollout) == state
    assert "480 labelled pairs on 4 devices" in service.get(rollout)[0].reason


def test_labels_of_an_older_device_are_stored_without_the_other_answer(
    fleet: Fleet,
) -> None:
    """The columns may be empty, as they are in a database of an older hub."""
    with transaction(fleet.services.engine) as conn:
        conn.execute(
            insert(FEEDBACK).values(
                device="arm0",
                sample_id="s",
                release=1,
                predicted="a",
                label="a",
                correct=True,
                predicted_at=1.0,
                received_at=1.0,
            )
        )
        assert conn.execute(FEEDBACK.select()).one().other_release is None


def test_a_plan_of_an_older_hub_is_read(fleet: Fleet) -> None:
    """Its limit stays the hard limit that it was."""
    rollout = fleet.services.rollouts.start(2)
    old = (
        '{"stages":[1.0],"devices":{"arm0":0},"max_failures":0,"min_labels":40,'
        '"accuracy_drop_max":0.1,"soak_s":3.0,"stage_deadline_s":600.0}'
    )
    with transaction(fleet.services.engine) as conn:
        conn.execute(update(ROLLOUTS).where(ROLLOUTS.c.id == rollout).values(plan=old))
    with fleet.services.engine.connect() as conn:
        row = store.get_rollout(conn, rollout)

    assert row is not None
    assert (row.plan.max_failures, row.plan.left_out) == (0, {})


def test_an_approval_is_of_the_stage_that_was_read(fleet: Fleet) -> None:
    """A rollout that advanced meanwhile is not approved in its next stage."""
    service = fleet.services.rollouts
    rollout = service.start(2, stages=(0.5, 1.0))
    service.tick()
    report_all(fleet, "inconclusive")
    service.tick()
    assert "--approve WHY --stage 1" in service.get(rollout)[0].reason
    report_all(fleet, "conclusive")
    service.tick()
    assert service.get(rollout)[0].stage == 1
    report_all(fleet, "inconclusive")
    service.tick()

    late = run(fleet, "rollouts", "promote", rollout, "--approve", "ok", "--stage", "1")
    assert (late.exit_code, "HUB-ROLLOUT-009" in late.stderr) == (5, True)
    assert service.get(rollout)[0].plan.approvals == ()
    now = run(fleet, "rollouts", "promote", rollout, "--approve", "ok", "--stage", "2")
    assert now.exit_code == 0
    assert [one.stage for one in service.get(rollout)[0].plan.approvals] == [1]
