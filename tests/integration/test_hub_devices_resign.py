"""What devices are to do stays under the present key when that key is replaced."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.update.metadata import Trust
from edge_agent.update.verify import open_assignment, open_command
from edge_agent.wire import codec
from edge_agent.wire.control import Presence, TufBundle
from edge_agent.wire.envelope import Envelope
from edge_agent.wire.topics import Address, Leaf
from hub.config import Home
from hub.devices.resign import resign
from hub.home import create_home
from hub.releases.ceremony import Ceremony, NewKeys
from hub.service import Services, open_services
from tests.hub_bundle import make_bundle
from tests.hub_keys import HandClock

TUF = "shoal/v1/hub/tuf"


class Broker:
    """Keeps what was published, in order."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self.sent: list[tuple[str, bytes]] = []

    def publish(
        self, topic: str, payload: bytes, *, retain: bool, expires_s: float = 0.0
    ) -> bool:
        """Take a message."""
        assert retain is (expires_s == 0.0)
        self.sent.append((topic, payload))
        return True

    def take(self) -> list[tuple[str, bytes]]:
        """Return what came since the last call."""
        taken, self.sent = self.sent, []
        return taken


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    """Return a hub with a published release and a device."""
    clock = HandClock()
    home = Home(tmp_path / "home")
    create_home(home, clock)
    made = open_services(home, clock)
    bundle = make_bundle(tmp_path / "bundle")
    made.releases.publish(made.releases.take_in(bundle))
    for name in ("d1", "d2"):
        birth = Presence(device=name, boot="00000000000000aa", online=True, at=1.0)
        made.devices.inbox.put(Address(name, Leaf.PRESENCE), codec.encode(birth))
    made.devices.receive()
    yield made
    made.engine.dispose()


def flush(services: Services, broker: Broker) -> list[tuple[str, bytes]]:
    """Publish what the broker does not have and return that."""
    releases = services.releases
    services.devices.flush(broker.publish, releases.tuf_version, releases.tuf_bundle)
    return broker.take()


def test_after_a_rotation_assignments_and_commands_are_signed_again(
    services: Services, tmp_path: Path
) -> None:
    """The new root goes first; contents, seq and ids stay; what was withdrawn stays."""
    broker, home = Broker(), services.home
    anchor = home.root_file.read_bytes()
    services.devices.assign("d1", 1, "r1")
    services.devices.collect(["d1"], 10, "drift")
    with services.engine.begin() as conn:
        services.devices.withdraw_in(conn, "d2", "r1")
    before = dict(flush(services, broker))
    Ceremony(home, services.clock).rotate("online", NewKeys())

    sent = flush(services, broker)

    assert [topic for topic, _ in sent] == [
        TUF,
        "shoal/v1/d1/desired",
        "shoal/v1/d1/cmd",
    ]
    trust = Trust(tmp_path / "device", anchor)
    trust.refresh(codec.decode(sent[0][1], TufBundle), services.clock.wall())
    new = [codec.decode(payload, Envelope) for _, payload in sent[1:]]
    assert open_assignment(new[0], "d1", trust.verify).seq == 1
    assert open_command(new[1], "d1", trust.verify).id == 1
    for envelope, (topic, _) in zip(new, sent[1:], strict=True):
        old = codec.decode(before[topic], Envelope)
        assert envelope.payload == old.payload
        assert envelope.keyid != old.keyid
    assert flush(services, broker) == []


def test_what_was_signed_just_before_the_rotation_does_not_slip_through(
    services: Services,
) -> None:
    """An assignment under the old key is signed again even if metadata was out."""
    broker = Broker()
    flush(services, broker)
    services.devices.assign("d1", 1, "r1")
    with services.engine.connect() as conn:
        stale = conn.exec_driver_sql("SELECT envelope FROM assignments").scalar_one()
    Ceremony(services.home, services.clock).rotate("online", NewKeys())
    flush(services, broker)
    with services.engine.begin() as conn:
        conn.exec_driver_sql(
            "UPDATE assignments SET published_at = NULL, envelope = ?", (stale,)
        )

    ((topic, payload),) = flush(services, broker)

    keyid = codec.decode(payload, Envelope).keyid
    assert topic == "shoal/v1/d1/desired"
    assert keyid != codec.decode(stale.encode(), Envelope).keyid


def test_a_command_that_has_expired_is_not_signed_again(services: Services) -> None:
    """A new key makes nothing valid that is over."""
    broker = Broker()
    services.devices.collect(["d1"], 10, "drift")
    flush(services, broker)
    assert isinstance(services.clock, HandClock)
    services.clock.at += 30 * 86_400
    Ceremony(services.home, services.clock).rotate("online", NewKeys())

    with services.engine.begin() as conn:
        assert resign(conn, services.tuf, services.clock.wall()) == 0
    assert not [topic for topic, _ in flush(services, broker) if topic.endswith("cmd")]


def test_what_a_device_may_go_back_to_stays_installable(
    services: Services, tmp_path: Path
) -> None:
    """A release that is assigned to somebody stays signed, however old it is."""
    services.devices.assign("d1", 1, "r1")
    for seed in range(2, 7):
        bundle = make_bundle(tmp_path / f"{seed}", seed=seed)
        services.releases.publish(services.releases.take_in(bundle))
    found = {path.split("/")[2] for path in services.releases.authentic()}
    assert found == {"1", "3", "4", "5", "6"}


def test_the_daily_signature_sends_no_assignment_again(services: Services) -> None:
    """Only another key makes it necessary."""
    broker = Broker()
    services.devices.assign("d1", 1, "r1")
    flush(services, broker)
    assert isinstance(services.clock, HandClock)
    services.clock.at += 2 * 86_400
    services.releases.refresh()

    assert [topic for topic, _ in flush(services, broker)] == [TUF]
