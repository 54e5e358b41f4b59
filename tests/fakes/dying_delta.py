"""Making a model from a patch, in a process that dies at a chosen touch of its files.

``python -m tests.fakes.dying_delta STATE ROOT URL TOUCH`` makes the model of release 2
from that of release 1. Each time Python is about to open, rename or remove a file of
the artifacts, or to start the process that patches, is a touch; at number ``TOUCH``
(0: never) it is killed. As on a device, what is missing then is fetched whole.
"""

import os
import signal
import sys
from pathlib import Path

from edge_agent.store.artifacts import ArtifactStore
from edge_agent.update.delta import DeltaWay
from edge_agent.update.download import Ways, fetch_artifact
from edge_agent.update.metadata import Trust
from edge_agent.wire.manifest import FileRef

TOUCHES = {"open", "os.rename", "os.remove", "os.truncate", "subprocess.Popen"}


def die_at(touch: int, folder: Path) -> None:
    """Be killed at that touch of a file in the folder."""
    left = touch

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event in TOUCHES and str(folder) in str(arguments):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def main(argv: list[str]) -> int:
    """Make the model; return 1 if it has to be fetched whole."""
    state, root, url, touch = Path(argv[0]), Path(argv[1]), argv[2], int(argv[3])
    store = ArtifactStore(state)
    ways = Ways(interrupted=lambda: False)
    trust = Trust(state / "tuf", root.read_bytes())
    release = store.read_release(2)
    die_at(touch, state / "artifacts")
    way = DeltaWay(store, trust, ways)

    def fetch(file: FileRef) -> None:
        fetch_artifact(url, file, store, ways)

    way.make_model(release, (1,), fetch)
    fetch(release.bundle.model)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
