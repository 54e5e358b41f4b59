"""The command line: stable JSON, plain columns, exit codes, and a light start."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result
from msgspec import UNSET

from edge_agent.base.clock import SystemClock
from edge_agent.wire import codec
from edge_agent.wire.control import Reported
from edge_agent.wire.topics import Address, Leaf
from hub.cli import cli
from hub.config import Home, HubConfig
from hub.home import create_home
from hub.service import open_services
from hub.storage import devices
from hub.storage.db import transaction
from tests.hub_broker import free_port
from tests.hub_bundle import make_bundle, write_manifest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a fresh home folder."""
    create_home(Home(tmp_path / "home"), SystemClock())
    return tmp_path / "home"


def run(home: Path, *arguments: str) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(cli, ["--home", str(home), *arguments])


def test_help_loads_nothing_heavy() -> None:
    """Listing the commands imports no database, web framework or array library."""
    code = (
        "import sys\n"
        "from hub.cli import cli\n"
        "cli(['--help'], standalone_mode=False)\n"
        "heavy = {'sqlalchemy', 'fastapi', 'numpy', 'rich', 'paho', 'tuf', 'uvicorn'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )

    assert done.stderr.strip() == "[]"
    assert "rollouts" in done.stdout


def test_init_makes_a_home_once(tmp_path: Path) -> None:
    """The second time is a conflict, and nothing is overwritten."""
    folder = tmp_path / "new"
    assert run(folder, "init", "--no-passphrase").exit_code == 0
    root = (folder / "root.json").read_bytes()

    again = run(folder, "init")

    assert again.exit_code == 5
    assert "HUB-HOME-001" in again.stderr
    assert (folder / "root.json").read_bytes() == root


def test_a_folder_without_a_hub_is_not_found(tmp_path: Path) -> None:
    """The text names the folder and the command that creates one."""
    result = run(tmp_path / "nothing", "devices", "list")

    assert result.exit_code == 3
    assert "hub init" in result.stderr
    assert not (tmp_path / "nothing").exists()


def test_an_unknown_key_is_named_with_the_nearest_right_one(home: Path) -> None:
    """A typing error in hub.toml is a usage error."""
    (home / "hub.toml").write_text("[broker]\nprot = 1\n", "utf-8")
    result = run(home, "devices", "list")

    assert result.exit_code == 2
    assert "'prot'" in result.stderr
    assert "did you mean 'port'" in result.stderr


def test_a_release_is_created_shown_and_rolled_out(tmp_path: Path, home: Path) -> None:
    """From a bundle to an open rollout with nothing but commands."""
    bundle = make_bundle(tmp_path / "bundle")
    created = run(home, "releases", "create", str(bundle), "--json")
    assert json.loads(created.stdout)["state"] == "published"

    shown = json.loads(run(home, "releases", "get", "1", "--json").stdout)
    assert (shown["release"], shown["accuracy"], shown["gate"]["ok"]) == (1, 0.75, True)
    assert run(home, "releases", "list").stdout.splitlines()[0].startswith("RELEASE")
    assert run(home, "releases", "create", str(bundle)).exit_code == 5

    started = run(home, "rollouts", "start", "1", "--stages", "0.5,1")
    rollout = started.stdout.strip()
    assert rollout == "tiny-1-1"
    listed = json.loads(run(home, "rollouts", "list", "--json").stdout)
    assert (listed[0]["state"], listed[0]["stages"]) == ("DRAFT", [0.5, 1.0])
    assert run(home, "rollouts", "watch", rollout, "--timeout", "0").exit_code == 6
    assert run(home, "rollouts", "abort", rollout).exit_code == 0
    explained = json.loads(run(home, "rollouts", "explain", rollout, "--json").stdout)
    assert explained[-1]["to_state"] == "ABORTING"
    assert explained[-1]["inputs"]["candidate"] == 1
    assert run(home, "rollouts", "start", "1", "--stages", "a").exit_code == 2
    assert run(home, "rollouts", "start", "1", "--stages", "1,0.5").exit_code == 7


def test_a_refused_bundle_exits_with_seven(tmp_path: Path, home: Path) -> None:
    """The gate's refusal can be overridden only with a reason."""
    bundle = make_bundle(tmp_path / "bundle")
    write_manifest(bundle, gate_ok=False)
    refused = run(home, "releases", "create", str(bundle))
    assert refused.exit_code == 7
    assert "HUB-RELEASE-008" in refused.stderr

    options = ("--override-gate", "drill", "--no-publish")
    taken = run(home, "releases", "create", str(bundle), *options)
    assert taken.stdout.strip() == "release 1 is validated"
    shown = json.loads(run(home, "releases", "get", "1", "--json").stdout)
    assert shown["override_gate"] == "drill"


def test_a_device_whose_clock_cannot_be_right_is_shown_as_such(home: Path) -> None:
    """In the list's JSON for scripts, in the device's own view for people."""
    services = open_services(Home(home))
    for name, wrong in (("d1", True), ("d2", UNSET)):
        twin = Reported(
            device=name,
            boot="00000000000000aa",
            version=1,
            at=1.0,
            release=0,
            clock_untrusted=wrong,
        )
        address = Address(name, Leaf.REPORTED)
        services.devices.inbox.put(address, codec.encode(twin))
    services.devices.receive()
    services.engine.dispose()

    listed = json.loads(run(home, "devices", "list", "--json").stdout)

    assert [device["clock_untrusted"] for device in listed] == [True, False]
    assert "untrusted: set it (NTP)" in run(home, "devices", "get", "d1").stdout
    assert "untrusted" not in run(home, "devices", "get", "d2").stdout


def test_devices_are_listed_and_shown(home: Path) -> None:
    """Every device has its age; JSON has the twin."""
    services = open_services(Home(home))
    with transaction(services.engine) as conn:
        devices.touch(conn, "d1", services.clock.wall() - 120, "left")
    services.engine.dispose()

    assert "2 min ago" in run(home, "devices", "list").stdout
    assert json.loads(run(home, "devices", "list", "--json").stdout)[0]["id"] == "d1"
    shown = json.loads(run(home, "devices", "get", "d1", "--json").stdout)
    assert (shown["device"]["cohort"], shown["desired"]) == ("left", None)
    assert run(home, "devices", "get", "d1").exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("devices", "get", "nobody"),
        ("releases", "get", "7"),
        ("rollouts", "get", "nothing"),
        ("rollouts", "watch", "nothing"),
        ("rollouts", "start", "7"),
        ("alerts", "get", "7"),
        ("train", "get", "nothing"),
    ],
)
def test_what_is_not_there_exits_with_three(
    home: Path, arguments: tuple[str, ...]
) -> None:
    """Every noun says the same: not found, with its own code."""
    result = run(home, *arguments)

    assert result.exit_code == 3
    assert result.stdout == ""
    assert result.stderr.startswith("HUB-")


@pytest.mark.parametrize("noun", ["devices", "releases", "rollouts", "alerts", "train"])
def test_an_empty_hub_lists_nothing(home: Path, noun: str) -> None:
    """Empty is an empty list in JSON and a heading in columns."""
    assert json.loads(run(home, noun, "list", "--json").stdout) == []
    assert len(run(home, noun, "list").stdout.splitlines()) == 1


def test_tail_without_a_broker_exits_with_eight(home: Path) -> None:
    """It says where it looked."""
    port = free_port()
    (home / "hub.toml").write_text(f"[broker]\nport = {port}\n", "utf-8")
    result = run(home, "tail", "--timeout", "1")

    assert result.exit_code == 8
    assert str(port) in result.stderr


def test_the_example_configuration_shows_every_key_with_its_default() -> None:
    """What is written in the example is what holds without it."""
    table = tomllib.loads((ROOT / "configs" / "hub.example.toml").read_text("utf-8"))

    assert msgspec.convert(table, HubConfig) == HubConfig()
    assert table == msgspec.to_builtins(HubConfig())
