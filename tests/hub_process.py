"""A `hub serve` of its own process, with the limits that a test gives it."""

import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge_agent.base.clock import SystemClock
from hub.config import Home
from hub.home import create_home
from tests.hub_broker import free_port, is_listening

START_S = 60.0
CONFIG = """
[broker]
port = {broker}
[api]
port = {port}
"""


@dataclass(frozen=True, kw_only=True)
class HubProcess:
    """A hub that serves: where its files are, where it listens."""

    home: Home
    port: int
    process: "subprocess.Popen[bytes]"
    log: Path

    def connect(self, source: str = "127.0.0.1") -> socket.socket:
        """Return a connection from an address of this machine."""
        return socket.create_connection(
            ("127.0.0.1", self.port), 20, source_address=(source, 0)
        )


def write_home(folder: Path, more: str = "") -> tuple[Home, int]:
    """Make a hub whose broker is not there; return it and its HTTP port."""
    home, port = Home(folder / "home"), free_port()
    create_home(home, SystemClock())
    text = CONFIG.format(broker=free_port(), port=port) + more
    home.config_file.write_text(text, "utf-8")
    return home, port


def serve_command(home: Home, files: int) -> list[str]:
    """Return the command line of a hub that may have so many descriptors."""
    shell = f'ulimit -n {files} && exec "$@"'
    serve = [sys.executable, "-m", "hub", "--home", str(home.path), "serve"]
    return ["sh", "-c", shell, "sh", *serve]


@contextmanager
def serve(home: Home, port: int, *, files: int = 1024) -> Iterator[HubProcess]:
    """Run a hub until the block ends."""
    log = home.path.parent / "hub.log"
    with log.open("ab") as out:
        process = subprocess.Popen(serve_command(home, files), stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + START_S
        while not is_listening(port):
            assert process.poll() is None, log.read_text("utf-8")
            assert time.monotonic() < deadline, "the hub does not listen"
        yield HubProcess(home=home, port=port, process=process, log=log)
    finally:
        process.terminate()
        process.wait(START_S)


@contextmanager
def many_files(count: int) -> Iterator[None]:
    """Let this process have so many descriptors until the block ends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard == resource.RLIM_INFINITY or hard >= count, "this test needs more"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
