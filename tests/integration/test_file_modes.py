"""Who may read what the programs write: their owner, and nobody else by accident."""

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from edge_agent.base.clock import SystemClock
from edge_agent.base.program import OWNER_ONLY
from edge_agent.store.db import open_db
from edge_agent.store.disk import write_durably as agent_writes
from hub.cli import cli
from hub.config import Home
from hub.files import PUBLIC, write_durably
from hub.home import create_home
from hub.scratch import scratch_folder
from tests.hub_broker import free_port, mosquitto
from tests.hub_bundle import make_bundle

DEADLINE_S = 60.0
USUAL = 0o022
NOBODY = 65534

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


def open_to_others(folder: Path) -> list[str]:
    """Return what group or others may read, write or enter in a folder."""
    return sorted(
        f"{stat.filemode(path.lstat().st_mode)} {path.relative_to(folder)}"
        for path in (folder, *folder.rglob("*"))
        if not path.is_symlink() and path.lstat().st_mode & 0o077
    )


def run(*arguments: str | Path) -> str:
    """Run one of the programs as a usual shell would, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        umask=USUAL,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def running(log: Path, *arguments: str | Path) -> Iterator[None]:
    """Run one of the programs until the end of the block."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *map(str, arguments)],
            stderr=output,
            umask=USUAL,
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(DEADLINE_S)


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something that becomes true, and fail with its name if it does not."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def test_nobody_else_can_read_a_hub_or_a_device(tmp_path: Path) -> None:
    """After a release has reached a device neither home has a file for others."""
    home, device = tmp_path / "home", tmp_path / "device"
    hub = ("hub", "--home", home)
    with ExitStack() as stack:
        broker = stack.enter_context(mosquitto(tmp_path))
        run(*hub, "init", "--no-passphrase")
        ports = f"[broker]\nport = {broker}\n[api]\nport = {free_port()}\n"
        (home / "hub.toml").write_text(ports, "utf-8")
        run(*hub, "releases", "create", make_bundle(tmp_path / "bundle"))
        stack.enter_context(running(tmp_path / "hub.log", *hub, "serve"))
        run(*hub, "devices", "join-file", "dev-1", "--to", tmp_path / "join.json")
        run("edge_agent", "join", tmp_path / "join.json", "--dir", device)
        agent = ("edge_agent", "run", "--config", device / "agent.toml")
        stack.enter_context(running(tmp_path / "agent.log", *agent))
        wait_until(
            lambda: "dev-1" in run(*hub, "devices", "list", "--json"), "no device"
        )
        run(*hub, "rollouts", "start", "1", "--stages", "1")
        state = device / "state"
        wait_until(lambda: any(state.glob("artifacts/*")), "nothing arrived")
        wait_until((state / "agent.sock").exists, "no socket")
        live = open_to_others(home), open_to_others(device)

    assert live == ([], [])
    assert (open_to_others(home), open_to_others(device)) == ([], [])


def test_what_the_trainer_makes_is_its_owners(tmp_path: Path) -> None:
    """All three programs begin with the same umask."""
    for program in ("hub", "edge_agent", "trainer"):
        code = (
            "import os, sys, click\n"
            f"import {program}.__main__ as program\n"
            "sys.argv = ['x', '--help']\n"
            "try: program.main()\n"
            "except SystemExit: pass\n"
            "open(sys.argv[0], 'w').close()\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            umask=USUAL,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            timeout=DEADLINE_S,
        )
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "x").stat().st_mode & 0o777 == 0o600, program
        (tmp_path / "x").unlink()


def test_the_files_of_an_older_version_are_closed(tmp_path: Path) -> None:
    """A device's database that all could read is its owner's at the next start."""
    database = tmp_path / "agent.db"
    open_db(database).close()
    database.chmod(0o644)
    connection = open_db(database)
    modes = [path.stat().st_mode & 0o777 for path in tmp_path.glob("agent.db*")]
    connection.close()

    assert set(modes) == {0o600}


@pytest.fixture
def _owner_only() -> Iterator[None]:
    """Work with the umask that the programs have."""
    before = os.umask(OWNER_ONLY)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_owner_only")
def test_what_others_are_meant_to_read_they_can(tmp_path: Path) -> None:
    """The broker's files, an exported root and a folder for devices are public."""
    home, broker = tmp_path / "home", tmp_path / "broker"
    create_home(Home(home), SystemClock())
    for words in (
        ("broker", "config", "--to", broker, "--host", "localhost"),
        ("keys", "export-root", "--to", tmp_path / "root.json"),
        ("releases", "create", make_bundle(tmp_path / "bundle")),
        ("releases", "download", "1", "--to", tmp_path / "stick"),
    ):
        done = CliRunner().invoke(cli, ["--home", str(home), *map(str, words)])
        assert done.exit_code == 0, done.output

    public = {"acl", "ca.pem", "crl.pem", "mosquitto.conf", "server.pem"}
    assert all((broker / name).stat().st_mode & 0o777 == PUBLIC for name in public)
    assert (broker / "server.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "root.json").stat().st_mode & 0o777 == PUBLIC
    for path in (tmp_path / "stick").rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else PUBLIC)


@needs_root
def test_what_root_leaves_in_a_home_belongs_to_its_owner(tmp_path: Path) -> None:
    """``sudo`` leaves nothing behind that hub or agent could not read."""
    os.chown(tmp_path, NOBODY, NOBODY)
    write_durably(tmp_path / "hub.json", b"{}")
    agent_writes(tmp_path / "wish.json", b"{}")
    with scratch_folder(tmp_path) as folder:
        folder.rename(tmp_path / "1")

    owners = {path.name: path.stat().st_uid for path in tmp_path.iterdir()}
    assert owners == dict.fromkeys(("hub.json", "wish.json", "1"), NOBODY)
