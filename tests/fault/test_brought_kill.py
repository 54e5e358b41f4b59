"""kill -9 before every change of a file while a folder is carried out."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.config import OutboxConfig
from edge_agent.store.artifacts import ArtifactStore
from edge_agent.store.outbox import Outbox
from edge_agent.store.slots import SlotStore
from edge_agent.update.inbox import Offer, put_offer
from edge_agent.wire.batch import decode_record
from edge_agent.wire.records import UpdateRecord
from tests.fakes.releases import assign, make_release
from tests.fakes.tuf_repository import TufRepository

ROOT = Path(__file__).parents[2]
SOME, MOST = 20, 200
"""A run changes more and fewer files than this."""


def outcomes(database: Path) -> list[tuple[int, str]]:
    """Return the ends of activations in the outbox."""
    outbox = Outbox(database, "", OutboxConfig())
    records = [decode_record(held.body) for held in outbox.held()]
    outbox.close()
    return [
        (record.release, record.outcome)
        for record in records
        if isinstance(record, UpdateRecord) and record.outcome
    ]


class Device:
    """A device with a folder of release 1 in its inbox."""

    def __init__(self, home: Path) -> None:
        """Make it."""
        self._home, self.state = home, home / "state"
        repository = TufRepository()
        made = make_release(repository, 1)
        (home / "brought").mkdir(parents=True)
        (home / "root.json").write_bytes(repository.root_versions[0])
        files = {sha256: home / "brought" / sha256 for sha256 in made.artifacts}
        for sha256, data in made.artifacts.items():
            files[sha256].write_bytes(data)
        envelope = repository.assign(assign(made, "d1", 1, "http://127.0.0.1:1"))
        offer = Offer(id="0" * 16, bundle=repository.bundle(), assignment=envelope)
        put_offer(self.state, offer, files)

    def run(self, change: int) -> int:
        """Run the program; return its exit status."""
        words = [str(self._home), "1", str(change)]
        return subprocess.run(
            [sys.executable, "-m", "tests.fakes.brought_agent", *words],
            cwd=ROOT,
            timeout=120,
            check=False,
        ).returncode

    def judge(self) -> None:
        """Check that the folder is carried out, once, and nothing lies about."""
        store = SlotStore(self.state / "agent.db")
        slots = store.read()
        store.close()
        assert (slots.active, slots.phase, slots.outcome) == (1, "IDLE", "committed")
        assert ArtifactStore(self.state).load_release(1).release.release == 1
        assert outcomes(self.state / "agent.db") == [(1, "committed")]
        names = {path.name for path in self.state.iterdir()}
        assert names.isdisjoint({"inbox", "inbox.old", "inbox.part"})
        assert list((self.state / "artifacts").glob("*.part")) == []


@pytest.mark.timeout(300)
def test_a_folder_is_carried_out_whatever_dies(tmp_path: Path) -> None:
    """Killed before any one change and started again, it is committed, once."""
    for change in range(1, MOST):
        device = Device(tmp_path / str(change))
        status = device.run(change)
        assert status in {0, -signal.SIGKILL}
        assert device.run(0) == 0
        device.judge()
        if status == 0:
            break
    assert SOME < change < MOST


def test_deaths_one_after_the_other_end(tmp_path: Path) -> None:
    """Each run dies one change later than the one before, until one does not."""
    device = Device(tmp_path)
    deaths = 0
    while (status := device.run(deaths + 1)) == -signal.SIGKILL:
        deaths += 1

    assert status == 0
    assert deaths > SOME / 4
    device.judge()
