"""A device's update side that lives on its inbox and dies at a chosen change of a file.

``python -m tests.fakes.brought_agent FOLDER SEQ CHANGE`` takes up what is in the inbox
of ``FOLDER/state`` and runs to rest; right before its renaming or removing number
``CHANGE`` (0: never) it is killed. There is no network.
"""

import os
import signal
import sys
from pathlib import Path

from edge_agent.base.clock import SystemClock
from edge_agent.store.artifacts import ArtifactStore
from edge_agent.store.slots import SlotStore
from edge_agent.update.download import Ways
from edge_agent.update.inbox import Inbox
from edge_agent.update.metadata import Trust
from edge_agent.update.phases import Phases
from edge_agent.update.runner import UpdateRunner
from edge_agent.update.states import AT_REST, Phase
from tests.fakes.slot_worker import BOOT, SlotWorker

CHANGES = frozenset({"os.rename", "os.remove", "os.rmdir"})


def die_at(change: int, state: Path) -> None:
    """Kill this process right before that change of a file in the state folder."""
    left = change

    def hook(event: str, args: tuple[object, ...]) -> None:
        nonlocal left
        if event in CHANGES and _is_below(args, state):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def _is_below(args: tuple[object, ...], state: Path) -> bool:
    # Removing a tree names its files without their folder.
    return any(str(arg).startswith(str(state)) or "/" not in str(arg) for arg in args)


def main(argv: list[str]) -> int:
    """Carry out what is in the inbox."""
    home, seq, change = Path(argv[0]), int(argv[1]), int(argv[2])
    state = home / "state"
    slots = SlotStore(state / "agent.db", BOOT)
    trust = Trust(state / "tuf", (home / "root.json").read_bytes())
    store = ArtifactStore(state)
    die_at(change, state)
    brought = Inbox(state)
    ways = Ways(interrupted=lambda: False, local=brought.artifacts)
    phases = Phases(store, trust, SlotWorker(slots, store, bad=False), ways)
    runner = UpdateRunner(
        "d1", slots, phases, SystemClock(), on_change=lambda _state: None
    )
    runner.recover()
    while runner.state.seq < seq or Phase(runner.state.phase) not in AT_REST:
        brought.look(runner)
        runner.tick()
    brought.look(runner)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
