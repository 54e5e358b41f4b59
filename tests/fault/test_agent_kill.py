"""kill -9 around every write of the journal: some verified model is always there."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.config import OutboxConfig
from edge_agent.store.artifacts import ArtifactStore
from edge_agent.store.outbox import Outbox
from edge_agent.store.slots import Slots, SlotStore
from edge_agent.wire.batch import decode_record
from edge_agent.wire.codec import encode
from edge_agent.wire.records import UpdateRecord
from edge_agent.wire.topics import Lane
from tests.fakes.agent_hub import artifact_server
from tests.fakes.crashing_agent import BOOT
from tests.fakes.releases import MadeRelease, assign, make_release
from tests.fakes.tuf_repository import TufRepository

ROOT = Path(__file__).parents[2]
WRITES = 8
"""Transitions of an activation, from the assignment to its end."""


class Device:
    """A folder with an active release 1, and release 2 assigned."""

    def __init__(self, home: Path) -> None:
        """Make it; :meth:`run` runs the program in it."""
        (home / "state").mkdir(parents=True)
        self.home = home
        self.repository = TufRepository()
        self.releases = [make_release(self.repository, n) for n in (1, 2)]
        (home / "root.json").write_bytes(self.repository.root_versions[0])
        (home / "bundle.json").write_bytes(encode(self.repository.bundle()))

    @property
    def artifacts(self) -> dict[str, bytes]:
        """Every artifact by digest."""
        return self.releases[0].artifacts | self.releases[1].artifacts

    def expect(self, made: MadeRelease, url: str) -> None:
        """Write the assignment of a release."""
        envelope = self.repository.assign(assign(made, "d1", made.number, url))
        (self.home / f"{made.number}.envelope").write_bytes(encode(envelope))

    def run(self, release: int, write: int = 0, when: str = "after") -> int:
        """Run the program; return its exit status."""
        words = [str(self.home), str(release), str(release), str(write), when]
        return subprocess.run(
            [sys.executable, "-m", "tests.fakes.crashing_agent", *words],
            cwd=ROOT,
            timeout=60,
            check=False,
        ).returncode

    def slots(self) -> Slots:
        """Read the slot row."""
        store = SlotStore(self.home / "state" / "agent.db")
        try:
            return store.read()
        finally:
            store.close()

    def outcomes(self) -> list[tuple[int, str]]:
        """Return the ends of activations in the outbox."""
        outbox = Outbox(self.home / "state" / "agent.db", BOOT, OutboxConfig())
        rows = outbox.read(BOOT, Lane.STATE, 0, max_records=999, max_bytes=1 << 30)
        outbox.close()
        records = [decode_record(body) for _, body in rows]
        return [
            (r.release, r.outcome)
            for r in records
            if isinstance(r, UpdateRecord) and r.outcome
        ]


@pytest.fixture
def device(tmp_path: Path) -> Device:
    """Return a new device."""
    return Device(tmp_path / "device")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("bad", [False, True], ids=["good", "bad"])
def test_kill_at_every_write(device: Device, when: str, *, bad: bool) -> None:
    """Killed around each write and started again, the device ends where it should."""
    with artifact_server(device.artifacts) as (url, _):
        for made in device.releases:
            device.expect(made, url)
        if bad:
            (device.home / "bad").touch()
        assert device.run(1) == 0
        for write in range(1, WRITES + 1):
            status = device.run(2, write, when)
            if status == 0:
                break
            assert status == -signal.SIGKILL
            slots = device.slots()
            assert slots.active in {1, 2}
            store = ArtifactStore(device.home / "state")
            assert store.load_release(slots.active).release.release == slots.active
        assert device.run(2) == 0

    slots = device.slots()
    assert slots.phase == "IDLE"
    if bad:
        assert (slots.active, slots.quarantined) == (1, (2,))
        assert device.outcomes() == [(1, "committed"), (2, "rolled_back")]
    else:
        assert (slots.active, slots.previous) == (2, 1)
        assert device.outcomes() == [(1, "committed"), (2, "committed")]
