"""kill -9 at every change while a hub takes a bundle in: a release, or nothing."""

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from edge_agent.wire import codec
from edge_agent.wire.manifest import RELEASE_FILE, Release
from hub.config import Home
from hub.errors import ConflictError
from hub.files import sha256_of
from hub.home import create_home
from hub.releases.ceremony import NewKeys
from hub.releases.service import INTAKE_FILE
from hub.scratch import PREFIX, scratch_file, scratch_folder, sweep
from hub.service import Services, open_services
from tests.fault.test_publish_kill import kill_everywhere
from tests.hub_bundle import make_bundle
from tests.hub_keys import PASSPHRASE, HandClock


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a home that has one published release, and a bundle."""
    folder = tmp_path_factory.mktemp("site")
    clock = HandClock()
    home = Home(folder / "home")
    create_home(home, clock, NewKeys(folder=folder / "usb", passphrase=PASSPHRASE))
    services = open_services(home, clock)
    bundle = make_bundle(folder.parent / f"{folder.name}-1", seed=1)
    services.releases.publish(services.releases.take_in(bundle))
    services.engine.dispose()
    make_bundle(folder / "bundle", seed=2)
    return folder


def leftovers(home: Home) -> list[Path]:
    """Return what was on its way anywhere in a home."""
    return sorted(home.path.rglob(f"{PREFIX}*"))


def check_whole(services: Services, step: str) -> None:
    """Every release of the database has its whole folder."""
    for row in services.releases.list_releases():
        folder = services.home.releases / str(row.release)
        manifest = (folder / RELEASE_FILE).read_bytes()
        assert codec.decode(manifest, Release) == row.manifest, step
        assert (folder / INTAKE_FILE).exists(), step
        for ref in row.manifest.bundle.files:
            assert sha256_of(folder / ref.name) == ref.sha256, (step, ref.name)


def take_in(services: Services, bundle: Path) -> str:
    """Take a bundle in that becomes release 2; return what the hub says."""
    try:
        number = services.releases.take_in(bundle)
    except ConflictError as error:
        return str(error).partition("\n")[0]
    assert number == 2
    return "taken in"


def go_on(copy: Path, step: str) -> str:
    """Do the same again as after a restart; return what came of it."""
    services = open_services(Home(copy / "home"), HandClock())
    try:
        check_whole(services, step)
        end = take_in(services, copy / "bundle")
        check_whole(services, step)
        assert services.releases.take_in_once(copy / "bundle") == 2, step
        services.releases.publish(2)
        assert services.releases.get(2).state == "published", step
        names = {path.name for path in services.home.releases.iterdir()}
        assert names == {"1", "2"}, step
        assert leftovers(services.home) == [], step
    finally:
        services.engine.dispose()
    return end


@pytest.mark.timeout(400)
def test_taking_in(site: Path, tmp_path: Path) -> None:
    """Whole or not at all; the same again takes it in, or says that it is there."""
    steps = kill_everywhere(site, "take in", tmp_path / "first")

    told = " ".join(steps)
    for part in ("bundle.json", INTAKE_FILE, "os.rename", "commit", "committed"):
        assert part in told, steps
    copies = [tmp_path / "first" / str(n) for n in range(1, len(steps) + 1)]
    assert sum(bool(leftovers(Home(copy / "home"))) for copy in copies) >= 5, steps
    half = len(steps) - 1 - steps[::-1].index("commit")
    assert (copies[half] / "home" / "releases" / "2").exists()
    shutil.copytree(copies[half], tmp_path / "half")
    ends = {go_on(copy, step) for copy, step in zip(copies, steps, strict=True)}
    assert ends == {"taken in", "HUB-RELEASE-009: this bundle is release 2 already"}

    steps = kill_everywhere(tmp_path / "half", "take in", tmp_path / "second")

    assert any("os.rmdir" in step for step in steps), steps
    for number, step in enumerate(steps, start=1):
        go_on(tmp_path / "second" / str(number), step)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder in which a crash left a file and a folder."""
    (tmp_path / f"{PREFIX}dead").write_bytes(b"half")
    (tmp_path / f"{PREFIX}gone").mkdir()
    (tmp_path / f"{PREFIX}gone" / "model.tflite").write_bytes(b"half")
    (tmp_path / "whole").write_bytes(b"whole")
    return tmp_path


def test_what_is_being_written_is_never_swept(folder: Path) -> None:
    """Only what has lost its writer goes; what has no such name is not looked at."""
    with (
        scratch_file(folder, "named") as (handle, file),
        scratch_folder(folder) as place,
    ):
        os.write(handle, b"all of it")
        (place / "bundle.json").write_bytes(b"{}")
        assert sweep([folder]) == 2
        names = {path.name for path in folder.iterdir()}
        assert names == {"whole", file.name, place.name}
        assert sweep([folder]) == 0
        file.replace(folder / "named")
        assert (place / "bundle.json").exists()

    assert {path.name for path in folder.iterdir()} == {"whole", "named"}
    assert (folder / "named").read_bytes() == b"all of it"


def test_a_sweep_between_making_and_locking_is_noticed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was swept away before it could be locked is made again."""
    lock = fcntl.flock
    swept: list[int] = []

    def late(handle: int, how: int) -> None:
        if how == fcntl.LOCK_EX and not swept:
            swept.append(0)
            swept.append(sweep([folder]))
        lock(handle, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with scratch_file(folder, "named") as (_, file):
        assert swept == [0, 3]
        assert file.exists()
    swept.clear()
    with scratch_folder(folder) as place:
        assert swept == [0, 1]
        assert place.is_dir()
