"""Several ingest processes share the devices, and one of them may die at any time."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from edge_agent.base.clock import SystemClock
from edge_agent.wire.batch import decode_record
from edge_agent.wire.topics import Lane, up
from hub.config import Home
from hub.home import create_home
from hub.ingest.shard import Shard
from hub.storage.db import open_database
from hub.storage.tables import RECORDS
from tests.fakes.agent_hub import free_port, running_broker, wait_for
from tests.torture.children import Children, Program
from tests.torture.device import QUIET_FILE, TRUTH_FILE, name_of
from tests.torture.device import main as be_device

DEVICES = ("watch-1", "watch-2", "watch-3", "watch-4")
RATE = "200"


class Processes:
    """``hub serve`` in parts, over one home folder."""

    def __init__(self, home: Home) -> None:
        """Start none."""
        self._home = home
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *words: str) -> None:
        """Start a part."""
        self._running[" ".join(words)] = subprocess.Popen(
            self._command(*words), stderr=subprocess.DEVNULL
        )

    def refused(self, *words: str) -> tuple[int, str]:
        """Start a part that must not run; return its exit code and its text."""
        done = subprocess.run(
            self._command(*words), capture_output=True, timeout=30, check=False
        )
        return done.returncode, done.stderr.decode()

    def kill(self, *words: str) -> None:
        """Kill a part with SIGKILL."""
        process = self._running.pop(" ".join(words))
        process.kill()
        process.wait(10)

    def end(self) -> list[int]:
        """Ask all parts to end; return their exit codes."""
        for process in self._running.values():
            process.send_signal(signal.SIGTERM)
        return [process.wait(15) for process in self._running.values()]

    def _command(self, *words: str) -> list[str]:
        folder = str(self._home.path)
        return [sys.executable, "-m", "hub", "--home", folder, "serve", *words]


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """Run a broker."""
    port = free_port()
    with running_broker(tmp_path / "broker", port):
        yield port


@pytest.fixture
def home(tmp_path: Path, port: int) -> Home:
    """Return a home folder that points at the broker."""
    home = Home(tmp_path / "home")
    create_home(home, SystemClock())
    home.config_file.write_text(
        f"[broker]\nport = {port}\n[api]\nport = {free_port()}\n", "utf-8"
    )
    return home


@pytest.fixture
def engine(home: Home) -> Iterator[Engine]:
    """Open the hub's database."""
    engine = open_database(home.database_url(home.read_config()))
    yield engine
    engine.dispose()


def stored(engine: Engine) -> list[str]:
    """Return the names of all stored records of the devices' writers."""
    with engine.connect() as connection:
        bodies = connection.scalars(select(RECORDS.c.body)).all()
    return [name for body in bodies if (name := name_of(decode_record(body.encode())))]


def truth(folder: Path) -> list[str]:
    """Return the names of all records that devices committed."""
    return [
        line
        for device in DEVICES
        if (folder / device / TRUTH_FILE).exists()
        for line in (folder / device / TRUTH_FILE).read_text("utf-8").splitlines()
    ]


@pytest.mark.timeout(120)
def test_shards_take_every_record_once_also_when_one_is_killed(
    tmp_path: Path, port: int, home: Home, engine: Engine
) -> None:
    """What devices commit is in the database once; a dead shard's devices wait."""
    shards = [Shard(number=number, of=2) for number in (1, 2)]
    owned = [{d for d in DEVICES if s.owns(up(d, Lane.METRIC))} for s in shards]
    assert all(owned), "each shard must have a device for this to show anything"
    processes = Processes(home)
    second = ("--role", "ingest", "--shard", "2/2")
    with Children(tmp_path) as children:
        for device in DEVICES:
            (tmp_path / device).mkdir()
            words = [str(tmp_path / device), device, str(port), RATE]
            children.start(device, Program(main=be_device, words=words))
        try:
            processes.start("--role", "control")
            processes.start("--role", "ingest", "--shard", "1/2")
            processes.start(*second)
            wait_for(lambda: {n[:7] for n in stored(engine)} == set(DEVICES), "all")
            assert processes.refused(*second)[0] == 5
            assert "HUB-SERVE-001" in processes.refused()[1]
            processes.kill(*second)
            before = len(stored(engine))
            wait_for(lambda: len(stored(engine)) > before + 200, "the living shard")
            processes.start(*second)
            for device in DEVICES:
                (tmp_path / device / QUIET_FILE).touch()
            wait_for(
                lambda: set(truth(tmp_path)) <= set(stored(engine)), "every record"
            )
        finally:
            children.end()
            codes = processes.end()

    assert codes == [0, 0, 0]
    names = stored(engine)
    assert len(names) == len(set(names))
    assert len(names) > 1000
