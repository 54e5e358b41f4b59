"""A fleet for tests of the hub: devices that speak to the services as the link does."""

from pathlib import Path
from typing import Any

from msgspec import UNSET, UnsetType

from edge_agent.base.clock import SystemClock
from edge_agent.wire import codec
from edge_agent.wire.batch import decode_record
from edge_agent.wire.control import Assignment, Presence, Reported
from edge_agent.wire.envelope import Envelope
from edge_agent.wire.records import ShadowSummary, UpdateRecord
from edge_agent.wire.topics import Address, Lane, Leaf
from hub.config import Home
from hub.home import create_home
from hub.service import Services, open_services
from hub.storage import devices as device_store
from hub.storage.db import transaction
from hub.storage.streams import StreamKey
from tests.hub_bundle import make_bundle
from tests.hub_records import plant

BOOT = "00000000000000aa"


class TestClock(SystemClock):
    """The system's clock, ahead by what the test lets pass."""

    __test__ = False

    def __init__(self) -> None:
        """Start at the present."""
        self.ahead_s = 0.0

    def wall(self) -> float:
        """Return the wall time, moved ahead."""
        return super().wall() + self.ahead_s


class Fleet:
    """Devices that speak to the services as the link would."""

    def __init__(self, services: Services, clock: TestClock) -> None:
        """Start with no device."""
        self.services = services
        self.clock = clock
        self._versions = 0
        self._seq = 0

    def birth(self, *names: str, online: bool = True, hardware: str = "") -> None:
        """Announce devices; every second is of cohort left."""
        for place, name in enumerate(names):
            presence = Presence(
                device=name,
                boot=BOOT,
                online=online,
                at=1.0,
                hardware=hardware,
                labels={"cohort": "left" if place % 2 else "right"},
            )
            payload = codec.encode(presence)
            self.services.devices.inbox.put(Address(name, Leaf.PRESENCE), payload)
        self.services.devices.receive()

    def desired(self, name: str) -> Assignment | None:
        """Return what a device was told."""
        with self.services.engine.connect() as conn:
            row = device_store.get_assignment(conn, name)
        if row is None or not row.envelope:
            return None
        envelope = codec.decode(row.envelope.encode(), Envelope)
        return codec.decode(envelope.payload.encode(), Assignment)

    def report(  # noqa: PLR0913 - each is a field of the twin
        self,
        name: str,
        release: int,
        outcome: str = "committed",
        *,
        shadow: ShadowSummary | UnsetType = UNSET,
        penalty_until: float | UnsetType = UNSET,
        pinned: bool = False,
        code: str = "",
        **fields: Any,  # noqa: ANN401 - fields of the record
    ) -> None:
        """Let a device report what it runs, and how its assignment ended."""
        assignment = self.desired(name)
        assert assignment is not None
        self._versions += 1
        self._seq += 1
        reported = Reported(
            device=name,
            boot=BOOT,
            version=self._versions,
            at=1.0,
            release=release,
            assignment_seq=assignment.seq,
            quarantined=[assignment.release] if outcome == "rolled_back" else [],
            penalty_until=penalty_until,
            pinned=pinned or UNSET,
        )
        address = Address(name, Leaf.REPORTED)
        self.services.devices.inbox.put(address, codec.encode(reported))
        self.services.devices.receive()
        update = UpdateRecord(
            at=1.0,
            assignment_seq=assignment.seq,
            rollout=assignment.rollout,
            release=assignment.release,
            phase="IDLE",
            outcome=outcome,
            code=code if outcome == "committed" else code or "AGENT-UPDATE-062",
            shadow=shadow,
            **fields,
        )
        data = codec.encode(update)
        key = StreamKey(device=name, boot=BOOT, lane=Lane.STATE)
        with transaction(self.services.engine) as conn:
            rows = [(self._seq, decode_record(data))]
            plant(conn, key, rows, self.services.clock.wall())

    def told(self, release: int) -> set[str]:
        """Return the devices whose newest assignment is this release."""
        with self.services.engine.connect() as conn:
            rows = device_store.list_assignments(conn).values()
        return {row.device for row in rows if row.release == release and row.envelope}

    def complete(self, release: int) -> None:
        """Roll a release out to everybody at once."""
        name = self.services.rollouts.start(release, stages=(1.0,))
        self.services.rollouts.tick()
        for device in self.told(release):
            self.report(device, release)
        self.services.rollouts.tick()
        self.clock.ahead_s += 10
        self.services.rollouts.tick()
        assert self.state(name) == "COMPLETED"

    def state(self, rollout: str) -> str:
        """Return a rollout's state."""
        return self.services.rollouts.get(rollout)[0].state.value


def publish_three(folder: Path) -> Path:
    """Make a home folder with three published releases, to be copied."""
    home = Home(folder / "home")
    create_home(home, SystemClock())
    services = open_services(home)
    for seed in (1, 2, 3):
        bundle = make_bundle(folder / f"bundle{seed}", seed=seed)
        services.releases.publish(services.releases.take_in(bundle))
    services.engine.dispose()
    return home.path
