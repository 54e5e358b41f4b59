"""Backups: made while others write, checked to the last byte, restored whole."""

import json
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import make_url

from edge_agent.base.clock import SystemClock
from hub.backup import sealed as sealed_keys
from hub.backup.create import Source, Target, create_backup
from hub.backup.manifest import read_manifest
from hub.backup.restore import check_keys, read_restored, restore_backup
from hub.backup.sealed import seal, unseal
from hub.cli import cli
from hub.cli.backup import postgres_words
from hub.config import Home
from hub.errors import DeniedError, HubError, RefusedError
from hub.home import create_home
from hub.service import open_services
from hub.storage.db import transaction
from hub.storage.tables import BIRTHS
from tests.hub_bundle import make_bundle

WORDS = b"six random words make a good one"
DEADLINE_S = 30.0


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    """Derive keys at the lowest cost: what it costs is not what is tested."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealed_keys, "LOG_N", 14)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a home that has a published release, and its backup."""
    folder = tmp_path_factory.mktemp("made")
    home = folder / "home"
    create_home(Home(home), SystemClock())
    done = run(home, "releases", "create", make_bundle(folder / "b1"))
    assert done.exit_code == 0, done.output
    (folder / "words").write_bytes(WORDS + b"\n")
    assert create(home, folder / "backup").exit_code == 0
    return folder


@pytest.fixture
def home(tmp_path: Path, made: Path) -> Path:
    """Return a home folder with a published release."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path / "home"


@pytest.fixture
def backup(home: Path) -> Path:
    """Return a backup of that home."""
    return home.parent / "backup"


def run(home: Path, *arguments: str | Path) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(cli, ["--home", str(home), *map(str, arguments)])


def create(home: Path, to: Path) -> Result:
    """Make a backup."""
    words = ("--passphrase-file", home.parent / "words")
    return run(home, "backup", "create", "--to", to, *words)


def verify(backup: Path) -> Result:
    """Check a backup, keys and all."""
    words = ("--passphrase-file", backup.parent / "words")
    return run(backup / "no-home", "backup", "verify", backup, *words)


def restore(backup: Path, home: Path) -> Result:
    """Make a home of a backup."""
    words = ("--passphrase-file", backup.parent / "words")
    return run(home, "backup", "restore", backup, *words)


def source_of(home: Path) -> Source:
    """Open a hub as a backup wants it."""
    services = open_services(Home(home))
    return Source(
        home=services.home,
        config=services.config,
        engine=services.engine,
        tuf=services.tuf,
    )


def test_a_restored_hub_has_everything(
    tmp_path: Path, home: Path, backup: Path
) -> None:
    """Releases, keys and metadata are the old ones, and the new home can sign."""
    assert verify(backup).exit_code == 0
    assert restore(backup, tmp_path / "new").exit_code == 0
    new = tmp_path / "new"

    for folder in ("keys", "offline-keys", "tuf", "artifacts", "releases"):
        old = {p.relative_to(home) for p in (home / folder).rglob("[!.]*")}
        assert {p.relative_to(new) for p in (new / folder).rglob("*")} == old
        for path in filter(Path.is_file, (home / p for p in old)):
            copied = new / path.relative_to(home)
            assert copied.read_bytes() == path.read_bytes()
    listed = json.loads(run(new, "releases", "list", "--json").stdout)
    assert [row["release"] for row in listed] == [1]
    assert run(new, "keys", "refresh", "--targets").exit_code == 0
    second = run(new, "releases", "create", make_bundle(tmp_path / "b2", seed=2))
    assert second.exit_code == 0, second.output
    modes = {path.stat().st_mode & 0o077 for path in (new, *new.glob("[!.]*"))}
    assert modes == {0}


def test_a_restored_home_says_so(tmp_path: Path, backup: Path) -> None:
    """When, and of which backup; a home of ``hub init`` says nothing."""
    restore(backup, tmp_path / "new")
    found = read_restored(Home(tmp_path / "new"))
    manifest = read_manifest(backup)

    assert found is not None
    assert (found.backup, found.created_at) == (manifest.id, manifest.created_at)
    assert found.at >= found.created_at
    assert read_restored(Home(tmp_path / "home")) is None


def test_a_backup_is_one_cut_while_others_write(tmp_path: Path, home: Path) -> None:
    """Rows and releases that come meanwhile are in it whole, or not at all."""
    source = source_of(home)
    stop = threading.Event()
    written: list[int] = []

    def write() -> None:
        while not stop.is_set():
            with transaction(source.engine) as conn:
                number = len(written)
                for boot in ("a", "b"):
                    row = {"device": f"dev-{number}", "boot": boot}
                    conn.execute(BIRTHS.insert().values(**row, born_at=1, heard_at=1))
            written.append(number)

    def publish() -> None:
        """Publish another release in the middle of the copy."""
        if not (home / "releases" / "2").exists():
            other = open_services(Home(home))
            other.releases.publish(other.releases.take_in(make_bundle(bundle, seed=2)))

    bundle, told, cut = tmp_path / "b2", [0], _small_files(home)

    def progress(count: int) -> None:
        told[0] += count
        if told[0] > cut:  # before, the metadata is locked
            publish()

    thread = threading.Thread(target=write)
    thread.start()
    target = Target(folder=tmp_path / "live", keys=tmp_path / "k", passphrase=WORDS)
    try:
        manifest = create_backup(source, target, 1.0, progress)
    finally:
        stop.set()
        thread.join(DEADLINE_S)

    assert (home / "releases" / "2").is_dir()
    assert not any(entry.path.startswith("releases/2/") for entry in manifest.files)
    with closing(sqlite3.connect(tmp_path / "live" / "hub.db")) as copy:
        counts = copy.execute("SELECT count(*) FROM births GROUP BY device").fetchall()
        assert {count for (count,) in counts} <= {2}
        assert copy.execute("SELECT count(*) FROM releases").fetchone() == (1,)
    assert len(written) > 0
    shutil.move(tmp_path / "k", tmp_path / "live.keys")
    assert verify(tmp_path / "live").exit_code == 0


def _small_files(home: Path) -> int:
    """Return how many bytes are copied under the lock of the metadata."""
    single = [home / name for name in ("hub.toml", "root.json", "ca.pem")]
    return sum(p.stat().st_size for p in (*single, *(home / "tuf").glob("*.json")))


def _damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _swap_database(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


DAMAGES: dict[str, Callable[[Path], None]] = {
    "backup/hub.db": _damage,
    "backup/artifacts/*": _damage,
    "backup/tuf/timestamp.json": Path.unlink,
    "backup/releases/1/model.tflite": _damage,
    "backup/releases/1/bundle.json": Path.unlink,
    "backup/root.json": _swap_database,
    "backup.keys": _damage,
    "backup/manifest.json": _damage,
}


@pytest.mark.parametrize("name", DAMAGES)
def test_any_damage_is_found_and_nothing_is_restored(
    tmp_path: Path, backup: Path, name: str
) -> None:
    """One bit, one missing file, a link in place of a file: refused, with a cure."""
    DAMAGES[name](next(backup.parent.glob(name)))
    for result in (verify(backup), restore(backup, tmp_path / "new")):
        assert result.exit_code in {4, 7}, result.output
        assert "HUB-BACKUP-00" in result.stderr
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.glob(".part-*"))


def test_a_backup_that_lacks_what_its_database_names_is_found(backup: Path) -> None:
    """A manifest that agrees with the files is not yet a backup that a hub can run."""
    path = backup / "manifest.json"
    table = json.loads(path.read_text("utf-8"))
    table["files"] = [
        one for one in table["files"] if not one["path"].startswith("artifacts/")
    ]
    path.write_text(json.dumps(table), "utf-8")
    result = verify(backup)

    assert result.exit_code == 7
    assert "release 1 needs it" in result.stderr
    assert "metadata names it" in result.stderr


@pytest.mark.parametrize("path", ["../x", "/etc/x", "keys/online.pem", "tuf/../../x"])
def test_a_manifest_names_nothing_outside_of_its_folder(
    tmp_path: Path, backup: Path, path: str
) -> None:
    """A lie in the manifest writes no file anywhere."""
    manifest = backup / "manifest.json"
    table = json.loads(manifest.read_text("utf-8"))
    table["files"][0]["path"] = path
    manifest.write_text(json.dumps(table), "utf-8")
    result = restore(backup, tmp_path / "new")

    assert result.exit_code == 7
    assert "HUB-BACKUP-002" in result.stderr


def test_a_newer_schema_is_refused(tmp_path: Path, backup: Path) -> None:
    """A hub that is too old for a backup says so before anything is made."""
    path = backup / "manifest.json"
    path.write_text(
        path.read_text("utf-8").replace('"revision": "0', '"revision": "9'), "utf-8"
    )
    result = restore(backup, tmp_path / "new")

    assert result.exit_code == 7
    assert "run the version of the hub that made it" in result.stderr


def test_nothing_is_written_over(tmp_path: Path, home: Path, backup: Path) -> None:
    """Neither a backup, nor its keys, nor a home, nor a folder with anything in it."""
    assert create(home, backup).exit_code == 5
    assert create(home, tmp_path / "other").exit_code == 0
    (tmp_path / "other" / "manifest.json").unlink()
    assert restore(tmp_path / "other", tmp_path / "new").exit_code == 3
    for taken in (home, tmp_path):
        result = restore(backup, taken)
        assert result.exit_code == 5
        assert "HUB-BACKUP-009" in result.stderr
    (tmp_path / "empty").mkdir()
    assert restore(backup, tmp_path / "empty").exit_code == 0


def test_keys_are_apart_and_behind_their_passphrase(
    tmp_path: Path, home: Path, backup: Path
) -> None:
    """No private key, nor a password of the database, is in the folder itself."""
    for path in filter(Path.is_file, backup.rglob("*")):
        assert b"PRIVATE KEY" not in path.read_bytes()
    assert not (backup / "keys").exists()
    sealed = (tmp_path / "backup.keys").read_bytes()
    assert b"PRIVATE" not in sealed
    assert (tmp_path / "backup.keys").stat().st_mode & 0o777 == 0o600

    (tmp_path / "words").write_bytes(b"another passphrase, as long\n")
    result = restore(backup, tmp_path / "new")
    assert result.exit_code == 4
    assert "HUB-BACKUP-005" in result.stderr
    assert not (tmp_path / "new").exists()
    (tmp_path / "words").write_bytes(b"short\n")
    assert "HUB-KEYS-007" in create(home, tmp_path / "weak").stderr
    assert not (tmp_path / "weak").exists()


def test_sealed_keys_are_bound_to_their_backup(tmp_path: Path) -> None:
    """Another backup's keys, other parameters or a cut file are refused."""
    path = tmp_path / "keys"
    files = {"keys/online.pem": b"secret", "offline-keys/root.pem": b"\x00\xff"}
    sealed = seal(files, WORDS, "0" * 16)
    path.write_bytes(sealed)
    assert unseal(path, [b"wrong", WORDS], "0" * 16) == files
    with pytest.raises(RefusedError, match="belongs to backup"):
        unseal(path, [WORDS], "1" * 16)

    for changed, error in (
        (sealed.replace(b'"0000', b'"1000'), RefusedError),
        (sealed.replace(b'"log_n":14', b'"log_n":15'), DeniedError),
        (sealed.replace(b'"log_n":14', b'"log_n":60'), RefusedError),
        (sealed[:40], RefusedError),
        (b"", RefusedError),
    ):
        path.write_bytes(changed)
        with pytest.raises(error):
            unseal(path, [WORDS], "0" * 16)
    path.write_bytes(seal({"../../etc/x": b""}, WORDS, "0" * 16))
    with pytest.raises(RefusedError):
        unseal(path, [WORDS], "0" * 16)


def test_what_dies_on_the_way_leaves_nothing(
    tmp_path: Path, home: Path, backup: Path
) -> None:
    """A full disk in the middle: no folder, no keys, no home; the next try works."""

    def full(_bytes: int) -> None:
        raise OSError(28, "No space left on device")

    source = source_of(home)
    target = Target(folder=tmp_path / "full", keys=tmp_path / "k", passphrase=WORDS)
    with pytest.raises(HubError, match=r"HUB-BACKUP-003.*No space left"):
        create_backup(source, target, 1.0, full)
    manifest = read_manifest(backup)
    keys = check_keys(tmp_path / "backup.keys", manifest, [WORDS])
    with pytest.raises(HubError, match=r"HUB-BACKUP-003.*No space left"):
        restore_backup(backup, Home(tmp_path / "new"), keys, 1.0, full)

    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"home", "b1", "backup", "backup.keys", "words"}
    assert restore(backup, tmp_path / "new").exit_code == 0


def test_a_database_outside_of_the_home_goes_where_it_belongs(tmp_path: Path) -> None:
    """It is restored to the place that the configuration names, never over another."""
    home, database = tmp_path / "home", tmp_path / "data" / "my.db"
    database.parent.mkdir()
    (tmp_path / "words").write_bytes(WORDS)
    create_home(Home(home), SystemClock())
    (home / "hub.toml").write_text(f'database = "sqlite:///{database}"\n', "utf-8")
    (home / "hub.db").unlink()
    assert run(home, "releases", "create", make_bundle(tmp_path / "b1")).exit_code == 0
    assert create(home, tmp_path / "backup").exit_code == 0

    assert restore(tmp_path / "backup", tmp_path / "new").exit_code == 5
    assert not (tmp_path / "new").exists()
    for path in database.parent.iterdir():
        path.unlink()
    assert restore(tmp_path / "backup", tmp_path / "new").exit_code == 0
    assert not (tmp_path / "new" / "hub.db").exists()
    assert database.stat().st_mode & 0o777 == 0o600
    assert (
        len(json.loads(run(tmp_path / "new", "releases", "list", "--json").stdout)) == 1
    )


def test_an_artifact_that_is_gone_stops_a_backup(tmp_path: Path, home: Path) -> None:
    """What could not be restored is said when the backup is made."""
    next((home / "artifacts").iterdir()).unlink()
    result = create(home, tmp_path / "other")

    assert result.exit_code == 7
    assert "HUB-BACKUP-007" in result.stderr
    assert not (tmp_path / "other").exists()
    assert not (tmp_path / "other.keys").exists()


def test_postgresql_is_said_to_be_somebody_elses_part() -> None:
    """The command that copies the database is shown, without its password."""
    url = make_url("postgresql+psycopg2://hub:secret@db.example/shoal")
    words = postgres_words(url, Path("/backups/monday"))

    assert "secret" not in words
    assert "--file /backups/monday.dump" in words
    assert "postgresql://hub@db.example/shoal" in words
