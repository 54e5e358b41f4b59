"""Rollouts with shadows, quarantines and penalty boxes, over a real database."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from msgspec import UNSET

from edge_agent.wire.records import ShadowSummary
from hub.cli import cli
from hub.config import Home
from hub.service import open_services
from tests.fakes.hub_fleet import Fleet, TestClock, publish_three

NAMES = ("d1", "d2", "d3", "d4")
AGREES = ShadowSummary(release=2, n=40, disagreement_ratio=0.05, latency_ratio=1.1)
DIFFERS = ShadowSummary(release=2, n=40, disagreement_ratio=0.6, latency_ratio=1.1)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home folder with three published releases, to be copied."""
    return publish_three(tmp_path_factory.mktemp("published"))


@pytest.fixture
def fleet(published: Path, tmp_path: Path) -> Iterator[Fleet]:
    """Return a fleet on release 1; a rollout bears 30 % disagreement."""
    shutil.copytree(published, tmp_path / "home")
    config = tmp_path / "home" / "hub.toml"
    config.write_text("[rollout]\nshadow_disagreement_max = 0.3\n")
    clock = TestClock()
    services = open_services(Home(tmp_path / "home"), clock)
    made = Fleet(services, clock)
    made.birth(*NAMES)
    made.complete(1)
    yield made
    services.engine.dispose()


def test_a_rollout_asks_for_a_shadow_and_a_way_back_does_not(fleet: Fleet) -> None:
    """Devices try what is new beside what they have; the incumbent comes at once."""
    service = fleet.services.rollouts
    rollout = service.start(2, stages=(0.25, 1.0))
    service.tick()
    (canary,) = fleet.told(2)
    told = fleet.desired(canary)
    assert told is not None
    assert told.shadow is not UNSET
    assert told.shadow.min_samples == 20
    assert told.shadow.disagreement_max == pytest.approx(0.6)

    fleet.report(canary, 2, shadow=AGREES)
    service.abort(rollout, "because I say so")
    service.tick()

    back = fleet.desired(canary)
    assert back is not None
    assert (back.release, back.shadow) == (1, UNSET)


def test_agreement_is_part_of_the_reason_to_promote(fleet: Fleet) -> None:
    """The pairs stand in the reason, and in the facts of the decision."""
    service = fleet.services.rollouts
    rollout = service.start(2, stages=(0.25, 1.0))
    service.tick()
    for device in fleet.told(2):
        fleet.report(device, 2, shadow=AGREES)
    service.tick()

    event = service.explain(rollout)[-1]
    assert event.to_state == "GRADUAL"
    assert "5% of 40 shadow pairs on 1 devices disagree" in event.reason
    assert '"agreement":{"devices":1,"pairs":40' in event.inputs


def test_disagreement_holds_and_then_aborts(fleet: Fleet) -> None:
    """One device that disagrees is no certainty; a whole stage is."""
    service = fleet.services.rollouts
    rollout = service.start(2, stages=(0.25, 1.0))
    service.tick()
    for device in fleet.told(2):
        fleet.report(device, 2, shadow=DIFFERS)
    service.tick()
    row, _ = service.get(rollout)
    assert (row.state.value, "not sure yet" in row.reason) == ("CANARY", True)

    service.start(3, stages=(1.0,))
    service.tick()
    for device in fleet.told(3):
        fleet.report(device, 3, shadow=DIFFERS)
    service.tick()
    newest = service.list_rollouts()[-1]
    assert newest.state.value == "ROLLING_BACK"
    assert "60% of 160 shadow pairs on 4 devices disagree" in newest.reason


def test_devices_that_failed_are_left_out_unless_forced(fleet: Fleet) -> None:
    """A quarantine and a penalty box are respected, told, and can be overridden."""
    service = fleet.services.rollouts
    service.start(2, stages=(0.25, 1.0))
    service.tick()
    (canary,) = fleet.told(2)
    later = fleet.services.clock.wall() + 3600.0
    boxed = min(set(NAMES) - {canary})
    fleet.report(canary, 1, "rolled_back")
    service.tick()
    fleet.report(boxed, 1, penalty_until=later)

    rollout = service.start(2, stages=(1.0,))
    service.tick()
    assert fleet.told(2) == set(NAMES) - {canary, boxed}
    assert "2 held back" in service.get(rollout)[0].reason

    forced = service.start(2, stages=(1.0,), forced=True)
    service.tick()
    assert fleet.told(2) == set(NAMES)
    told = fleet.desired(canary)
    assert told is not None
    assert told.forced is True
    assert "fail" not in {row.outcome for row in service.get(forced)[1]}


def test_a_pinned_device_is_left_alone_until_it_is_not(fleet: Fleet) -> None:
    """The rollout goes on without it, says so, and comes back to it."""
    service = fleet.services.rollouts
    fleet.report("d1", 1, pinned=True)
    rollout = service.start(2, stages=(1.0,))
    service.tick()
    assert fleet.told(2) == set(NAMES) - {"d1"}
    assert "1 held back" in service.get(rollout)[0].reason

    fleet.report("d1", 1)
    service.tick()
    assert fleet.told(2) == set(NAMES)


def test_the_box_opens_again(fleet: Fleet) -> None:
    """Once its time is over a device gets what the fleet has."""
    service = fleet.services.rollouts
    later = fleet.services.clock.wall() + 3600.0
    fleet.report("d1", 1, penalty_until=later)
    fleet.complete(2)
    service.tick()
    assert fleet.told(2) == set(NAMES) - {"d1"}

    fleet.clock.ahead_s += 7200.0
    service.tick()

    assert fleet.told(2) == set(NAMES)


def test_devices_get_tells_how_it_ended(fleet: Fleet) -> None:
    """An operator sees code, detail, pairs, quarantine and box of one device."""
    service = fleet.services.rollouts
    service.start(2, stages=(0.25, 1.0))
    service.tick()
    (canary,) = fleet.told(2)
    fleet.report(
        canary,
        1,
        "rolled_back",
        shadow=DIFFERS,
        penalty_until=fleet.services.clock.wall() + 3600.0,
    )
    home = str(fleet.services.home.path)

    shown = CliRunner().invoke(cli, ["--home", home, "devices", "get", canary])
    as_json = CliRunner().invoke(
        cli, ["--home", home, "devices", "get", canary, "--json"]
    )

    for text in ("release 2 rolled_back", "AGENT-UPDATE-062", "60.0% disagree"):
        assert text in shown.stdout
    assert "2; nothing new until" in shown.stdout
    detail = msgspec.json.decode(as_json.stdout)
    assert detail["activation"]["code"] == "AGENT-UPDATE-062"
    assert detail["shadow"]["n"] == 40
