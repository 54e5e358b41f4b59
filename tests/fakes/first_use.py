"""Two threads that decode each message for the first time at once.

``python -m tests.fakes.first_use SEED`` ends by itself, or of a segmentation fault
where a message is not prepared when its module is imported.
"""

import random
import sys
import threading
from pathlib import Path

import msgspec

from edge_agent.store.slots import Slots
from edge_agent.wire import control, enrol, envelope, job, manifest, profile
from edge_agent.wire.types import Message

VECTORS = Path(__file__).parents[1] / "contract" / "vectors" / "v1"
KINDS = {
    kind.__name__: kind
    for module in (control, enrol, envelope, job, manifest, profile)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, Message)
}


def main(seed: int) -> None:
    """Decode every vector whose kind is known, and a slot row."""
    sys.setswitchinterval(1e-6)
    work = [
        (KINDS[name], path.read_bytes())
        for path in sorted(VECTORS.glob("*.json"))
        if (name := path.name.split(".")[0]) in KINDS
    ]
    random.Random(seed).shuffle(work)
    for kind, data in [(Slots, b"{}"), *work]:
        together = threading.Barrier(2)

        def decode(
            kind: type = kind,
            data: bytes = data,
            together: threading.Barrier = together,
        ) -> None:
            together.wait()
            msgspec.json.decode(data, type=kind)

        threads = [threading.Thread(target=decode) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main(int(sys.argv[1]))
