"""Rollouts over a real database: devices are what they report."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.wire import codec
from edge_agent.wire.control import Presence
from edge_agent.wire.envelope import Envelope, Purpose, signed_bytes
from edge_agent.wire.topics import Address, Leaf
from hub.config import Home
from hub.errors import ConflictError, NotFoundError, RefusedError
from hub.releases.signer import Signer
from hub.releases.tuf_repo import TufRepo
from hub.service import open_services
from hub.storage import devices as device_store
from hub.storage import rollouts
from tests.fakes.hub_fleet import BOOT, Fleet, TestClock, publish_three


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home folder with three published releases, to be copied."""
    return publish_three(tmp_path_factory.mktemp("published"))


@pytest.fixture
def fleet(published: Path, tmp_path: Path) -> Iterator[Fleet]:
    """Return services with three published releases and no device."""
    shutil.copytree(published, tmp_path / "home")
    clock = TestClock()
    services = open_services(Home(tmp_path / "home"), clock)
    yield Fleet(services, clock)
    services.engine.dispose()


NAMES = ("d1", "d2", "d3", "d4")


def test_a_good_release_goes_through_every_stage(fleet: Fleet) -> None:
    """Canary, half, all, soak; each only after the devices of the last report it."""
    fleet.birth(*NAMES)
    service = fleet.services.rollouts
    rollout = service.start(1)
    for size, state in ((1, "CANARY"), (2, "GRADUAL"), (4, "GRADUAL")):
        service.tick()
        assert (len(fleet.told(1)), fleet.state(rollout)) == (size, state)
        for device in fleet.told(1):
            fleet.report(device, 1)
    service.tick()
    assert fleet.state(rollout) == "SOAK"
    fleet.clock.ahead_s += 10
    service.tick()

    assert fleet.state(rollout) == "COMPLETED"
    assert service.current_release() == 1
    states = [event.to_state for event in service.explain(rollout)]
    assert states == [
        "VALIDATED",
        "SIGNED",
        "CANARY",
        "GRADUAL",
        "GRADUAL",
        "SOAK",
        "COMPLETED",
    ]


def test_ticking_without_news_changes_nothing(fleet: Fleet) -> None:
    """The engine is idempotent over the database too."""
    fleet.birth(*NAMES)
    service = fleet.services.rollouts
    rollout = service.start(1)
    service.tick()
    before = service.get(rollout), fleet.desired(next(iter(fleet.told(1))))
    service.tick()
    service.tick()

    after = service.get(rollout), fleet.desired(next(iter(fleet.told(1))))
    assert after == before


def test_a_bad_release_is_taken_back_from_the_canary(fleet: Fleet) -> None:
    """The canary gets a newer assignment to the incumbent; nobody else saw it."""
    fleet.birth(*NAMES)
    fleet.complete(1)
    service = fleet.services.rollouts
    rollout = service.start(2)
    service.tick()
    (canary,) = fleet.told(2)
    first = fleet.desired(canary)
    fleet.report(canary, 1, "rolled_back")
    service.tick()

    second = fleet.desired(canary)
    assert first is not None
    assert second is not None
    assert second.seq > first.seq
    assert fleet.told(1) == set(NAMES)
    row, given = service.get(rollout)
    assert (row.state.value, given[0].outcome) == ("ROLLED_BACK", "fail")
    assert f"{canary} AGENT-UPDATE-062" in row.reason
    assert service.current_release() == 1


def test_an_operator_aborts_a_rollout(fleet: Fleet) -> None:
    """Devices that already run it go back; it ends when they report that."""
    fleet.birth(*NAMES)
    fleet.complete(1)
    service = fleet.services.rollouts
    rollout = service.start(2, stages=(0.5, 1.0))
    service.tick()
    changed = fleet.told(2)
    for device in changed:
        fleet.report(device, 2)
    service.abort(rollout, "because I say so")
    service.tick()
    assert fleet.state(rollout) == "ROLLING_BACK"
    with pytest.raises(ConflictError):
        service.start(3)

    for device in changed:
        fleet.report(device, 1)
    service.tick()

    assert fleet.state(rollout) == "ROLLED_BACK"
    assert service.get(rollout)[0].reason == "because I say so"
    with pytest.raises(ConflictError):
        service.abort(rollout, "again")


def test_aborting_the_first_rollout_withdraws_it(fleet: Fleet) -> None:
    """Without an incumbent the retained assignment is emptied."""
    fleet.birth("d1")
    service = fleet.services.rollouts
    rollout = service.start(1)
    service.tick()
    service.abort(rollout, "wrong model")
    service.tick()
    sent: list[tuple[str, bytes]] = []

    def publish(
        topic: str, payload: bytes, *, retain: bool, expires_s: float = 0.0
    ) -> bool:
        assert retain
        assert not expires_s
        sent.append((topic, payload))
        return True

    releases = fleet.services.releases
    fleet.services.devices.flush(publish, releases.tuf_version, releases.tuf_bundle)

    assert fleet.state(rollout) == "ROLLED_BACK"
    assert ("shoal/v1/d1/desired", b"") in sent


def test_a_new_rollout_supersedes_an_open_one(fleet: Fleet) -> None:
    """Nothing waits for a stuck rollout; its devices go straight to the newer one."""
    fleet.birth(*NAMES)
    fleet.complete(1)
    service = fleet.services.rollouts
    stuck = service.start(2)
    service.tick()
    fleet.complete(3)

    assert fleet.state(stuck) == "SUPERSEDED"
    assert fleet.told(3) == set(NAMES)


def test_devices_that_come_late_get_the_present_release(fleet: Fleet) -> None:
    """During a rollout they join its plan, after it they converge."""
    service = fleet.services.rollouts
    rollout = service.start(1)
    service.tick()
    assert fleet.state(rollout) == "CANARY"
    fleet.birth("d1")
    service.tick()
    assert fleet.told(1) == {"d1"}
    fleet.report("d1", 1)
    for _ in range(3):
        service.tick()
    fleet.clock.ahead_s += 10
    service.tick()
    assert fleet.state(rollout) == "COMPLETED"

    fleet.birth("d2")
    service.tick()

    assert fleet.told(1) == {"d1", "d2"}


def test_what_cannot_be_rolled_out_is_said(fleet: Fleet) -> None:
    """No such release, the same release, and stages that make no sense."""
    fleet.birth("d1")
    fleet.complete(1)
    service = fleet.services.rollouts
    with pytest.raises(NotFoundError):
        service.start(9)
    with pytest.raises(ConflictError):
        service.start(1)
    for stages in ((0.5, 0.25, 1.0), (0.5,), (0.0, 1.0)):
        with pytest.raises(RefusedError):
            service.start(2, stages=stages)


def test_assignments_are_signed_by_the_online_key(fleet: Fleet) -> None:
    """A device verifies the very bytes with the key of its trusted root."""
    fleet.birth("d1")
    fleet.services.devices.assign("d1", 1, "by hand")
    with fleet.services.engine.connect() as conn:
        row = device_store.get_assignment(conn, "d1")
    assert row is not None
    envelope = codec.decode(row.envelope.encode(), Envelope)
    home = fleet.services.home
    tuf = TufRepo(home.tuf, Signer([home.keys]))
    keyid, sig = tuf.sign(signed_bytes(Purpose.ASSIGNMENT, envelope.payload))

    assert (envelope.keyid, envelope.sig) == (keyid, sig)
    assert fleet.services.devices.assign("d1", 1, "by hand") == 2


def test_commands_are_sent_once_and_not_after_they_expired(fleet: Fleet) -> None:
    """What the broker confirmed is not sent again; what expired is not sent at all."""
    fleet.birth("d1")
    devices, releases = fleet.services.devices, fleet.services.releases
    sent: list[str] = []

    def publish(
        topic: str, payload: bytes, *, retain: bool, expires_s: float = 0.0
    ) -> bool:
        assert payload
        assert retain is (expires_s == 0.0)
        if not retain:
            sent.append(topic)
        return True

    devices.collect(["d1"], 10, "drift")
    devices.flush(publish, releases.tuf_version, releases.tuf_bundle)
    devices.flush(publish, releases.tuf_version, releases.tuf_bundle)
    devices.collect(["d1"], 10, "drift")
    fleet.clock.ahead_s += 7200
    devices.flush(publish, releases.tuf_version, releases.tuf_bundle)

    assert sent == ["shoal/v1/d1/cmd"]


def test_the_will_of_an_old_boot_is_ignored(fleet: Fleet) -> None:
    """Only the process that is present can go offline."""
    fleet.birth("d1")
    devices = fleet.services.devices
    for boot, expected in (("00000000000000bb", True), (BOOT, False)):
        will = Presence(device="d1", boot=boot, online=False, at=1.0)
        devices.inbox.put(Address("d1", Leaf.PRESENCE), codec.encode(will))
        devices.receive()
        assert devices.get("d1")[0].online is expected
    assert devices.get("d1")[0].cohort == "right"


def test_transitions_store_what_they_were_decided_on(fleet: Fleet) -> None:
    """The facts are in the database with each transition."""
    fleet.birth("d1")
    fleet.complete(1)
    with fleet.services.engine.connect() as conn:
        events = rollouts.list_events(conn, "tiny-1-1")

    assert '"release":1' in events[-1].inputs
    assert '"decision":"PROMOTE"' in events[-1].inputs
