"""The lowest release, and releases that a person signs: over the command line."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hub.cli import cli
from hub.config import Home
from hub.errors import RefusedError
from hub.home import create_home
from hub.releases.ceremony import Ceremony, NewKeys
from hub.service import Services, open_services
from tests.hub_bundle import make_bundle
from tests.hub_keys import PASSPHRASE, HandClock

WORDS = PASSPHRASE.decode()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a home of two published releases and its offline keys."""
    folder = tmp_path_factory.mktemp("floor")
    home = Home(folder / "home")
    create_home(
        home, HandClock(), NewKeys(folder=folder / "usb", passphrase=PASSPHRASE)
    )
    (folder / "words").write_text(f"{WORDS}\n", "utf-8")
    services = open_services(home, HandClock())
    for seed in (1, 2):
        bundle = make_bundle(folder / f"bundle{seed}", seed=seed)
        services.releases.publish(services.releases.take_in(bundle))
    make_bundle(folder / "bundle3", seed=3)
    services.engine.dispose()
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """Return a copy of it."""
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture
def services(folder: Path) -> Iterator[Services]:
    """Return the services over the home."""
    opened = open_services(Home(folder / "home"), HandClock())
    yield opened
    opened.engine.dispose()


def run(folder: Path, *words: str, brings: bool = True) -> Result:
    """Run ``hub releases`` with the offline keys, or without."""
    usb, file = str(folder / "usb"), str(folder / "words")
    brought = ["--offline-keys", usb, "--passphrase-file", file] if brings else []
    home = str(folder / "home")
    return CliRunner().invoke(cli, ["--home", home, "releases", *words, *brought])


def test_a_release_below_the_floor_is_not_rolled_out(
    folder: Path, services: Services
) -> None:
    """The refusal names the floor; the floor itself may be rolled out."""
    assert run(folder, "floor", "2").exit_code == 0
    assert run(folder, "floor", brings=False).stdout == "2\n"

    with pytest.raises(RefusedError) as error:
        services.rollouts.start(1)

    assert error.value.code == "HUB-FLOOR-002"
    assert services.rollouts.start(2)


def test_the_floor_never_takes_the_way_back(folder: Path, services: Services) -> None:
    """It cannot be above what a rollout brings, or would go back to."""
    services.rollouts.start(1)

    result = run(folder, "floor", "2")

    assert result.exit_code == 7
    assert "HUB-FLOOR-001" in result.stderr
    assert "hub rollouts start 2" in result.stderr
    assert run(folder, "floor", brings=False).stdout == "0\n"


def test_the_hub_cannot_sign_a_floor(folder: Path) -> None:
    """It takes the targets key; a mistake is corrected by signing another."""
    refused = run(folder, "floor", "2", brings=False)
    assert run(folder, "floor", "2").exit_code == 0

    assert refused.exit_code == 4, refused.stderr
    assert "HUB-KEYS-005" in refused.stderr
    assert run(folder, "floor", "0").exit_code == 0
    assert run(folder, "floor", brings=False).stdout == "0\n"
    assert run(folder, "floor", "9").exit_code == 3


def test_a_protected_release_key_makes_releases_wait_for_a_person(
    folder: Path, services: Services
) -> None:
    """A rollout says what it waits for; `hub releases publish` signs."""
    home = Home(folder / "home")
    usb = folder / "usb"
    ceremony = Ceremony(
        home, HandClock(), offline=[usb], passphrases=lambda _: [PASSPHRASE]
    )
    new = NewKeys(folder=usb, passphrase=PASSPHRASE, protect_models=True)
    ceremony.rotate("models", new)
    release = services.releases.take_in(folder / "bundle3")
    rollout = services.rollouts.start(release)
    services.rollouts.tick()
    waiting = services.rollouts.get(rollout)[0]
    accept = ["--home", str(folder / "home"), "clock", "accept"]
    assert CliRunner().invoke(cli, accept).exit_code == 0
    refused = run(folder, "publish", str(release), brings=False)

    signed = run(folder, "publish", str(release))

    assert waiting.reason == "waits for its signature: hub releases publish 3"
    assert refused.exit_code == 4, refused.stderr
    assert signed.exit_code == 0, signed.stderr
    services.rollouts.tick()
    assert services.rollouts.get(rollout)[0].state.value == "CANARY"
