"""kill -9 at every change a hub makes: what devices trust is always whole and valid."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.update.metadata import Trust
from hub.config import Home
from hub.files import sha256_of
from hub.home import create_home
from hub.releases.ceremony import Ceremony, NewKeys
from hub.service import open_services
from hub.storage.releases import PUBLISHED
from tests.fakes.dying_hub import operations
from tests.hub_bundle import make_bundle
from tests.hub_keys import PASSPHRASE, HandClock

ROOT = Path(__file__).parents[2]
ROLES = ("root", "targets", "models", "online")
OPERATIONS = ("refresh", "floor", *(f"rotate {role}" for role in ROLES))
FIRST, SECOND = (f"models/tiny/{n}/release.json" for n in (1, 2))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a home, two releases of which one is published, and keys."""
    folder = tmp_path_factory.mktemp("site")
    clock = HandClock()
    home = Home(folder / "home")
    create_home(home, clock, NewKeys(folder=folder / "usb", passphrase=PASSPHRASE))
    services = open_services(home, clock)
    for seed in (1, 2):
        bundle = make_bundle(folder.parent / f"{folder.name}-{seed}", seed=seed)
        assert services.releases.take_in(bundle) == seed
    services.releases.publish(1)
    services.engine.dispose()
    return folder


def kill_everywhere(site: Path, operation: str, out: Path) -> list[str]:
    """Run the operation once for every step; return what each died before."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fakes.dying_hub", site, operation, out],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    steps: list[str] = json.loads(done.stdout)
    assert steps.pop() == ""
    return steps


def find(folder: Path, anchor: bytes, home: Home, target: str) -> bool:
    """Give a device what the hub publishes; tell whether it may install a target."""
    tuf = Ceremony(home, HandClock()).tuf
    trust = Trust(folder, anchor)
    trust.refresh(tuf.bundle(), HandClock().at)
    if target not in tuf.targets():
        return False
    return trust.find(target).sha256 == tuf.targets()[target]


def check(copy: Path, anchor: bytes, *, step: str) -> None:
    """Check what a killed hub left: a valid set, all of it there, and keys to go on."""
    home = Home(copy / "home")
    assert find(copy / "old-device", anchor, home, FIRST), step
    tuf = Ceremony(home, HandClock()).tuf
    for target, sha256 in tuf.targets().items():
        artifact = home.artifacts / sha256
        assert sha256_of(artifact) == sha256, (step, target)
    assert all(tuf.can_sign(role) for role in ("models", "snapshot", "timestamp")), step


def seen_before(site: Path, copy: Path, anchor: bytes) -> None:
    """Have a device see what was published before."""
    assert find(copy / "old-device", anchor, Home(site / "home"), FIRST)


@pytest.mark.timeout(400)
def test_publishing(site: Path, tmp_path: Path) -> None:
    """The old set or the new one; publishing again completes it."""
    anchor = (site / "home" / "root.json").read_bytes()

    steps = kill_everywhere(site, "publish", tmp_path)

    told = " ".join(steps)
    assert len(steps) > 20, steps
    for part in (
        "artifacts",
        "2.models.json",
        "2.snapshot.json",
        "timestamp",
        "commit",
    ):
        assert part in told, steps
    seen: set[bool] = set()
    for number, step in enumerate(steps, start=1):
        copy = tmp_path / str(number)
        home = Home(copy / "home")
        seen_before(site, copy, anchor)
        check(copy, anchor, step=step)
        seen.add(find(copy / "early", anchor, home, SECOND))
        operations(home, copy / "usb")["publish"]()
        check(copy, anchor, step=step)
        assert find(copy / "late", anchor, home, SECOND), step
        services = open_services(home, HandClock())
        assert services.releases.get(2).state == PUBLISHED
        services.engine.dispose()
    assert seen == {False, True}


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "operation",
    [
        "refresh",
        "floor",
        "rotate root",
        "rotate targets",
        "rotate models",
        "rotate online",
    ],
)
def test_signing_and_changing_keys(site: Path, tmp_path: Path, operation: str) -> None:
    """Devices take what is there, the hub goes on, doing it again completes it."""
    anchor = (site / "home" / "root.json").read_bytes()

    steps = kill_everywhere(site, operation, tmp_path)

    assert len(steps) >= 4, steps
    for number, step in enumerate(steps, start=1):
        copy = tmp_path / str(number)
        home = Home(copy / "home")
        seen_before(site, copy, anchor)
        check(copy, anchor, step=step)
        operations(home, copy / "usb")[operation]()
        check(copy, anchor, step=step)
        operations(home, copy / "usb")["publish"]()
        assert find(copy / "late", anchor, home, SECOND), step
        newest = home.root_file.read_bytes()
        assert find(copy / "new", newest, home, SECOND), step
