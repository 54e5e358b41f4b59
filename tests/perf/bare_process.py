"""A model in another process and nothing else: the floor under every local API.

One connection, samples as bytes in, as many bytes of answer as a small reply has, no
protocol, no checks: what is left is the kernel's price for waking two processes.
``python -m tests.perf.bare_process SOCKET MODEL`` serves until its connection ends.
"""

import contextlib
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from edge_agent.engine import Engine
from tests.fakes.agent_hub import wait_for
from tests.perf.served import Sample

REPLY = bytes(256)
CHUNK_BYTES = 1 << 20


@contextlib.contextmanager
def bare_process(folder: Path, model: Path) -> Iterator[Callable[[Sample], bytes]]:
    """Run one; yields how to ask it."""
    path = folder / "bare.sock"
    child = subprocess.Popen([sys.executable, "-m", __name__, path, model])
    try:
        wait_for(path.exists, "the bare process")
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))

            def ask(sample: Sample) -> bytes:
                connection.sendall(sample.tobytes())
                return connection.recv(CHUNK_BYTES)

            yield ask
    finally:
        child.terminate()
        child.wait()


def serve(path: Path, model: Path) -> None:
    """Answer one connection."""
    engine = Engine.open(model)
    shape = engine.inputs[0].shape
    whole = bytearray(int(np.prod(shape)) * 4)
    sample = np.frombuffer(whole, np.float32).reshape(shape)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        connection, _ = listener.accept()
    with connection:
        while connection.recv_into(whole, len(whole), socket.MSG_WAITALL) == len(whole):
            engine.predict(sample)
            connection.sendall(REPLY)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), Path(sys.argv[2]))
