"""Opening the database: no lock where none is needed, odd settings, old modes."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from click.testing import CliRunner, Result

from edge_agent.base.clock import SystemClock
from hub.cli import cli
from hub.config import Home
from hub.home import create_home
from hub.storage import db, migrations
from hub.storage.db import open_database
from tests.fakes.lock_holder import holding
from tests.hub_broker import free_port
from tests.hub_bundle import make_bundle

DEADLINE_S = 30.0


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a fresh home folder whose ports are free."""
    create_home(Home(tmp_path / "home"), SystemClock())
    ports = f"[broker]\nport = {free_port()}\n[api]\nport = {free_port()}\n"
    (tmp_path / "home" / "hub.toml").write_text(ports, "utf-8")
    return tmp_path / "home"


def run(home: Path, *arguments: str) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(cli, ["--home", str(home), *arguments])


def run_program(home: Path, *arguments: str | Path) -> str:
    """Run a command in a process of its own and return what it printed."""
    command = [sys.executable, "-m", "hub", "--home", str(home), *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=DEADLINE_S
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def releases_in(database: Path, copy: Path) -> int:
    """Copy one file as ``cp`` does, and count the releases in the copy."""
    shutil.copyfile(database, copy)
    with closing(sqlite3.connect(copy)) as connection:
        return int(connection.execute("SELECT count(*) FROM releases").fetchone()[0])


def serve_and_stop(home: Path) -> None:
    """Run the hub until it has started, and stop it in an orderly way."""
    command = [sys.executable, "-m", "hub", "--home", str(home), "serve"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "hub.started" in line:
                break
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
        assert process.wait(DEADLINE_S) == 0


def test_the_file_of_a_stopped_hub_is_the_whole_database(
    tmp_path: Path, home: Path
) -> None:
    """After a command, and after a hub that was stopped, ``cp hub.db`` copies all."""
    run_program(home, "releases", "create", make_bundle(tmp_path / "bundle"))
    assert releases_in(home / "hub.db", tmp_path / "after-command.db") == 1
    assert not (home / "hub.db-wal").exists()

    serve_and_stop(home)

    assert releases_in(home / "hub.db", tmp_path / "after-serve.db") == 1
    assert not (home / "hub.db-wal").exists()


def test_a_reader_beside_it_does_not_keep_a_stopped_hub_out_of_its_file(
    tmp_path: Path, home: Path
) -> None:
    """A hub that stops while somebody else is connected leaves an empty WAL."""
    with closing(sqlite3.connect(home / "hub.db")) as reader:
        assert reader.execute("SELECT count(*) FROM releases").fetchone() == (0,)
        with closing(sqlite3.connect(home / "hub.db")) as writer, writer:
            writer.execute("INSERT INTO births VALUES ('dev-1', 'boot', 1.0, 1.0)")
        assert (home / "hub.db-wal").stat().st_size > 0

        serve_and_stop(home)

        assert (home / "hub.db-wal").stat().st_size == 0


def test_the_newest_migration_is_the_one_that_alembic_finds() -> None:
    """Nobody writes the schema's number twice."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory.from_config(config)

    assert scripts.get_heads() == [db.HEAD]
    for script in scripts.walk_revisions():
        assert Path(script.path).name.startswith(f"{script.revision}_")
    assert '"00' not in Path(db.__file__).read_text("utf-8")


def test_a_command_that_reads_waits_for_no_lock(home: Path) -> None:
    """``devices list`` works while others write, migrate, sign and serve."""
    with (
        holding(home / "hub.db", "write"),
        holding(home / "hub.db.lock", "flock"),
        holding(home / "tuf" / ".lock", "flock"),
        holding(home / "serve-control.lock", "flock"),
    ):
        assert run_program(home, "devices", "list", "--json").strip() == "[]"


def test_a_database_that_others_could_read_is_closed_to_them(home: Path) -> None:
    """Opening tightens the file of an older hub; what was narrowed by hand stays."""
    database = home / "hub.db"
    database.chmod(0o644)
    open_database(f"sqlite:///{database}").dispose()
    assert database.stat().st_mode & 0o777 == 0o600

    database.chmod(0o640)
    open_database(f"sqlite:///{database}").dispose()
    assert database.stat().st_mode & 0o777 == 0o640


def test_a_home_may_have_any_name(tmp_path: Path) -> None:
    """A question mark or a percent sign in the path is a character, not a query."""
    home = Home(tmp_path / "a?b=c 100%25")
    create_home(home, SystemClock())

    assert (home.path / "hub.db").stat().st_size > 0
    assert run(home.path, "devices", "list").exit_code == 0


ODD = {
    "postgres://hub@db.example/hub": "write postgresql://",
    "postgresql+nothing://hub@db.example/hub": "psycopg2",
    "postgresql+asyncpg://hub@db.example/hub": "psycopg2",
    "postgresql+pg8000://hub:secret@db.example/hub": "pip install pg8000",
    "postgresql://hub:secret@db.example:port/hub": "sqlite:////",
    "mysql://hub@db.example/hub": "sqlite:////",
    "oracle9://hub@db.example/hub": "sqlite:////",
    "hub.db": "sqlite:////",
    "/var/lib/hub.db": "sqlite:////var/lib/hub.db",
    " ": "sqlite:////",
    "sqlite:///hub.db": "sqlite:////",
    "sqlite:///../hub.db": "sqlite:////",
    "sqlite://hub.db": "sqlite:////",
    "sqlite://": "sqlite:////",
    "sqlite:///:memory:": "sqlite:////",
    "sqlite:////tmp": "not a folder",
    "sqlite:////dev/null": "file",
    "sqlite:////tmp/hub.db?mode=ro": "?mode=ro",
    "sqlite:////tmp/a\\u0000b": "sqlite:////",
    "sqlite+aiosqlite:////tmp/hub.db": "sqlite:////",
    "sqlite:////none/such/folder/hub.db": "folder",
}


@pytest.mark.parametrize("value", ODD)
def test_an_odd_database_setting_is_one_clear_error(home: Path, value: str) -> None:
    """It has a code and a cure, and never a traceback."""
    (home / "hub.toml").write_text(f'database = "{value}"\n', "utf-8")
    result = run(home, "devices", "list")

    assert result.exit_code in {1, 2}, result.output
    assert isinstance(result.exception, SystemExit)
    assert "HUB-STORE-00" in result.stderr
    assert ODD[value] in result.stderr
    assert "secret" not in result.stderr
    assert len(result.stderr.splitlines()) <= 3


@pytest.mark.parametrize(
    "text",
    [
        "database = 5",
        "tick_s = nan",
        "broker = 5",
        "x = " + "[" * 5000 + "]" * 5000,
        "[[broker]]\nport = 1",
    ],
)
def test_an_odd_value_in_the_configuration_is_one_clear_error(
    home: Path, text: str
) -> None:
    """It names the file, has a code, and is never a traceback."""
    (home / "hub.toml").write_text(text + "\n", "utf-8")
    result = run(home, "devices", "list")

    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert "SHOAL-CONFIG-00" in result.stderr
    assert "hub.toml" in result.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [("SHOAL_HUB_BROKER", "5"), ("SHOAL_HUB_DATABASE__X", "1")],
)
def test_an_odd_variable_is_one_clear_error(home: Path, name: str, value: str) -> None:
    """What the environment sets is named as what the file sets."""
    (home / "hub.toml").write_text('database = ""\n', "utf-8")
    command = [sys.executable, "-m", "hub", "--home", str(home), "devices", "list"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
        env={**os.environ, name: value, "SHOAL_HUB_BROKER__HOST": "localhost"},
    )

    assert done.returncode == 2, done.stderr
    assert "SHOAL-CONFIG-00" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_is_no_database_is_said_to_be_none(home: Path) -> None:
    """The cure is not ``hub init``, which would not help."""
    (home / "hub.db").write_bytes(b"not a database, " * 300)
    result = run(home, "devices", "list")

    assert result.exit_code == 1
    assert "HUB-STORE-001" in result.stderr
    assert "hub backup restore" in result.stderr


def test_the_variable_that_names_the_home_is_not_a_setting(home: Path) -> None:
    """``SHOAL_HUB_HOME`` in place of ``--home`` works."""
    done = subprocess.run(
        [sys.executable, "-m", "hub", "devices", "list", "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
        env={**os.environ, "SHOAL_HUB_HOME": str(home)},
    )

    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
