"""Rollouts leave out devices that are retired or revoked, before and while they run."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import insert, update

from hub.config import Home
from hub.service import open_services
from hub.storage.db import transaction
from hub.storage.tables import CERTIFICATES, DEVICES
from tests.fakes.hub_fleet import Fleet, TestClock, publish_three

NAMES = ("d1", "d2", "d3", "d4")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home folder with three published releases, to be copied."""
    return publish_three(tmp_path_factory.mktemp("published"))


@pytest.fixture
def fleet(published: Path, tmp_path: Path) -> Iterator[Fleet]:
    """Return services with four devices and no rollout."""
    shutil.copytree(published, tmp_path / "home")
    clock = TestClock()
    services = open_services(Home(tmp_path / "home"), clock)
    made = Fleet(services, clock)
    made.birth(*NAMES)
    yield made
    services.engine.dispose()


def revoke(fleet: Fleet, *names: str) -> None:
    """Leave devices with nothing but a revoked certificate."""
    with transaction(fleet.services.engine) as conn:
        for name in names:
            row = {"serial": name, "device": name, "issued_at": 1.0, "revoked_at": 2.0}
            conn.execute(insert(CERTIFICATES).values(expires_at=9e9, **row))


def retire(fleet: Fleet, name: str, at: float | None = 1.0) -> None:
    """Retire a device, or take that back."""
    with transaction(fleet.services.engine) as conn:
        conn.execute(update(DEVICES).where(DEVICES.c.id == name).values(retired_at=at))


def test_a_plan_leaves_out_who_is_gone_and_names_them(fleet: Fleet) -> None:
    """Revoked and retired devices are in no stage; the first event says so."""
    revoke(fleet, "d1")
    retire(fleet, "d2")
    service = fleet.services.rollouts
    rollout = service.start(1)
    service.tick()

    plan = service.get(rollout)[0].plan
    assert set(plan.devices) == {"d3", "d4"}
    assert plan.gone == {"d1": "revoked", "d2": "retired"}
    first = service.explain(rollout)[0].reason
    assert first == "leaves out 1 retired: d2; 1 revoked: d1"


def test_a_device_revoked_in_its_stage_does_not_block_it(fleet: Fleet) -> None:
    """The only device of the canary goes; the next takes its place; all completes."""
    service = fleet.services.rollouts
    rollout = service.start(1)
    service.tick()
    (canary,) = fleet.told(1)
    revoke(fleet, canary)
    rest = set(NAMES) - {canary}
    for _ in range(6):
        service.tick()
        for device in fleet.told(1) & rest:
            fleet.report(device, 1)
    fleet.clock.ahead_s += 10
    service.tick()

    assert fleet.state(rollout) == "COMPLETED"
    assert fleet.told(1) == set(NAMES)
    reasons = [event.reason for event in service.explain(rollout)]
    assert f"leaves out 1 revoked: {canary}" in reasons


def test_a_retired_device_is_not_waited_for_on_the_way_back(fleet: Fleet) -> None:
    """A rollback ends though a device that was retired never reports the incumbent."""
    fleet.complete(1)
    service = fleet.services.rollouts
    rollout = service.start(2, stages=(0.5, 1.0))
    service.tick()
    given = sorted(fleet.told(2))
    for device in given:
        fleet.report(device, 2)
    retire(fleet, given[0])
    service.abort(rollout, "wrong")
    service.tick()
    fleet.report(given[1], 1)
    service.tick()

    assert fleet.state(rollout) == "ROLLED_BACK"


def test_who_is_gone_gets_no_release_until_back(fleet: Fleet) -> None:
    """The present release does not go to a retired device, but does once it is back."""
    retire(fleet, "d1")
    fleet.complete(1)
    fleet.services.rollouts.tick()
    assert fleet.told(1) == {"d2", "d3", "d4"}

    retire(fleet, "d1", None)
    fleet.services.rollouts.tick()
    assert fleet.told(1) == set(NAMES)
