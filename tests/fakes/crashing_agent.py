"""A device's update side as a program that dies at a chosen write of its journal.

``python -m tests.fakes.crashing_agent FOLDER RELEASE SEQ WRITE WHEN`` takes up the
assignment in ``FOLDER/RELEASE.envelope`` and runs to rest; at journal write number
``WRITE`` (0: never) it is killed ``before`` or ``after`` the commit. ``bad`` in the
folder makes every new release fail its probation.
"""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from edge_agent.base.clock import SystemClock
from edge_agent.store.artifacts import ArtifactStore
from edge_agent.store.slots import Figures, Slots, SlotStore
from edge_agent.update.download import Ways
from edge_agent.update.metadata import Trust
from edge_agent.update.phases import Loaded, Phases, WorkerFigures
from edge_agent.update.runner import UpdateRunner
from edge_agent.update.shadow import ShadowState
from edge_agent.update.states import AT_REST, Phase
from edge_agent.wire.codec import decode
from edge_agent.wire.control import TufBundle
from edge_agent.wire.envelope import Envelope
from edge_agent.wire.records import AnyRecord, ShadowSummary

BOOT = "a" * 16


class DyingSlotStore(SlotStore):
    """A slot store whose process is killed around one write."""

    def __init__(self, path: Path, write: int, when: str) -> None:
        """Die at that write, ``before`` or ``after`` its commit."""
        super().__init__(path, BOOT)
        self._left = write
        self._when = when

    def write(self, slots: Slots, records: Sequence[AnyRecord] = ()) -> None:
        """Write, and die when it is time."""
        self._left -= 1
        if self._left == 0 and self._when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        super().write(slots, records)
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class SlotWorker:
    """A worker that really loads what the slot row names."""

    def __init__(self, slots: SlotStore, store: ArtifactStore, *, bad: bool) -> None:
        """Answer with the active release; a bad device errs with all but release 1."""
        self._slots = slots
        self._store = store
        self._bad = bad
        self.reload()

    def reload(self) -> Loaded:
        """Load the active release, as the worker does at its start."""
        active = self._slots.read().active
        if active:
            self._store.load_release(active)
        self._active = active
        return Loaded(release=active, sha256="ab" * 32 if active else "")

    def shadow(self) -> ShadowState:
        """Return a shadow that has not begun."""
        return ShadowState(summary=ShadowSummary(release=0))

    def figures(self) -> WorkerFigures:
        """Return plenty of predictions."""
        errors = 50 if self._bad and self._active > 1 else 0
        now = Figures(release=self._active, predictions=100, errors=errors)
        return WorkerFigures(now=now, before=None)


def main(argv: list[str]) -> int:
    """Run an assignment to its end."""
    folder, release, seq, write, when = argv
    home = Path(folder)
    state = home / "state"
    slots = DyingSlotStore(state / "agent.db", int(write), when)
    trust = Trust(state / "tuf", (home / "root.json").read_bytes())
    store = ArtifactStore(state)
    worker = SlotWorker(slots, store, bad=(home / "bad").exists())
    phases = Phases(store, trust, worker, Ways(interrupted=lambda: False))
    runner = UpdateRunner(
        "d1", slots, phases, SystemClock(), on_change=lambda _state: None
    )
    runner.recover()
    bundle = decode((home / "bundle.json").read_bytes(), TufBundle, limit=4 << 20)
    runner.on_metadata(bundle)
    runner.on_desired(decode((home / f"{release}.envelope").read_bytes(), Envelope))
    while Phase(runner.state.phase) not in AT_REST or runner.state.seq < int(seq):
        runner.tick()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
