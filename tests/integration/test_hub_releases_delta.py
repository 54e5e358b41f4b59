"""Patches that the hub builds when it publishes: signed, stored, shown, repeatable."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from edge_agent.base.clock import SystemClock
from edge_agent.delta.apply import apply_patch
from edge_agent.wire.manifest import delta_target
from hub.cli import cli
from hub.config import Home
from hub.files import sha256_of
from hub.home import create_home
from hub.releases.deltas import DELTAS_FILE, MAX_BASES, delta_path, read_deltas
from hub.releases.service import ReleaseService
from hub.service import open_services
from tests.hub_bundle import make_bundle

DEMO = Path(__file__).parents[1] / "data" / "demo"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Return a fresh home folder."""
    home = Home(tmp_path / "home")
    create_home(home, SystemClock())
    return home


@pytest.fixture
def releases(home: Home) -> ReleaseService:
    """Return the service over a fresh home folder."""
    return open_services(home).releases


def publish(releases: ReleaseService, folder: Path, *models: str) -> None:
    """Take in and publish one release a model."""
    for model in models:
        count = len(releases.list_releases())
        bundle = folder / f"bundle-{count}"
        source = DEMO / f"{model}.tflite"
        make_bundle(bundle, seed=count, model_file=source)
        releases.publish(releases.take_in(bundle))


def signed(releases: ReleaseService) -> str:
    """Return the newest metadata of the models role."""
    files = releases.tuf_bundle().files
    return next(text for name, text in files.items() if name.endswith(".models.json"))


def test_a_release_gets_a_patch_from_what_devices_may_run(
    home: Home, releases: ReleaseService, tmp_path: Path
) -> None:
    """It is an artifact, a target named after its base, and makes the model."""
    publish(releases, tmp_path, "first.float32", "bn_head.float32")

    (delta,) = releases.deltas(2)
    base, target = (releases.get(n).manifest.bundle.model for n in (1, 2))
    assert (delta.base_release, delta.base_sha256) == (1, base.sha256)
    assert delta.bytes < 0.25 * target.bytes
    patch = (home.artifacts / delta.sha256).read_bytes()
    old, new = ((home.artifacts / ref.sha256).read_bytes() for ref in (base, target))
    assert apply_patch(patch, old, target.bytes) == new
    text = signed(releases)
    assert delta_target("tiny", 2, base.sha256) in text
    assert delta.sha256 in text


def test_a_model_that_packs_well_needs_no_base(
    releases: ReleaseService, tmp_path: Path
) -> None:
    """The packed model is a patch too, and patches from a base must be smaller."""
    publish(releases, tmp_path, "first.int8", "head.int8")

    first, second = releases.deltas(1), releases.deltas(2)

    assert [(d.base_release, d.way) for d in first] == [(0, "packed")]
    assert [d.base_release for d in second] == [0, 1]
    assert second[1].bytes < second[0].bytes
    assert delta_target("tiny", 1, "") in signed(releases)


def test_no_patch_where_it_saves_too_little(
    releases: ReleaseService, tmp_path: Path
) -> None:
    """From an int8 file to a float one hardly anything is known."""
    publish(releases, tmp_path, "first.int8", "anew.float32")

    assert releases.deltas(2) == []
    assert "/2/delta-" not in signed(releases)


def test_only_the_newest_live_releases_get_a_patch(
    releases: ReleaseService, tmp_path: Path
) -> None:
    """What no device runs any more, and is not among the newest, gets none."""
    names = ["first.int8", "head.int8", "bn_head.int8", "full.int8", "anew.int8"]
    publish(releases, tmp_path, *names)

    bases = [d.base_release for d in releases.deltas(5) if d.base_release]

    assert bases == [4, 3, 2]
    assert len(bases) <= MAX_BASES


def test_the_same_bytes_need_no_patch(releases: ReleaseService, tmp_path: Path) -> None:
    """A device that has them fetches nothing at all."""
    publish(releases, tmp_path, "first.int8", "first.int8")

    assert [d.base_release for d in releases.deltas(2)] == [0]


def test_publishing_again_builds_what_is_lost(
    home: Home, releases: ReleaseService, tmp_path: Path
) -> None:
    """Whatever a crash left out comes with the next publication, byte for byte."""
    publish(releases, tmp_path, "first.float32", "bn_head.float32")
    folder = home.releases / "2"
    (delta,) = before = read_deltas(folder)
    digest = sha256_of(delta_path(folder, delta))

    for loss in (folder / DELTAS_FILE, delta_path(folder, delta)):
        loss.unlink()
        (home.artifacts / digest).unlink()
        releases.publish(2)
        assert read_deltas(folder) == before
        assert sha256_of(home.artifacts / digest) == digest


def test_the_command_line_shows_patches_and_their_sizes(
    home: Home, releases: ReleaseService, tmp_path: Path
) -> None:
    """An operator sees what an update costs before it is rolled out."""
    publish(releases, tmp_path, "first.float32", "bn_head.float32")
    run = CliRunner()

    shown = run.invoke(cli, ["--home", str(home.path), "releases", "get", "2"])
    listed = run.invoke(cli, ["--home", str(home.path), "releases", "list", "--json"])

    assert "from 1: 7.5 KiB (19%)" in shown.output
    (delta,) = json.loads(listed.output)[1]["deltas"]
    assert (delta["base"], delta["way"]) == (1, "tensors")
    assert delta["ratio"] == pytest.approx(0.2, abs=0.02)
