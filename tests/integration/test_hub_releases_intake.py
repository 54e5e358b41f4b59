"""Taking bundles in: a good one becomes a release, a bad one leaves nothing behind."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge_agent.base.clock import SystemClock
from edge_agent.wire import codec
from edge_agent.wire.manifest import Release, file_target, release_target
from edge_agent.wire.profile import ReferenceProfile
from hub.config import Home
from hub.errors import ConflictError, HubError, RefusedError
from hub.files import sha256_of
from hub.home import create_home
from hub.releases.service import ReleaseService
from hub.service import open_services
from tests.hub_bundle import edit_manifest, make_bundle, write_manifest


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


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Return a good bundle."""
    return make_bundle(tmp_path / "bundle")


def test_a_home_that_takes_nothing_says_so(
    home: Home, releases: ReleaseService, bundle: Path
) -> None:
    """A folder that cannot be written, or a busy database, is an error with a cure."""
    home.releases.rmdir()
    home.releases.write_bytes(b"in the way")
    with pytest.raises(HubError, match="nothing can be stored") as caught:
        releases.take_in(bundle)
    assert (caught.value.code, caught.value.retryable) == ("HUB-RELEASE-014", True)
    home.releases.unlink()
    assert releases.take_in(bundle) == 1

    home.artifacts.rmdir()
    home.artifacts.write_bytes(b"in the way")
    with pytest.raises(HubError, match="make room") as caught:
        releases.publish(1)
    assert caught.value.code == "HUB-RELEASE-014"
    assert releases.get(1).state == "validated"
    home.artifacts.unlink()
    releases.publish(1)
    assert releases.get(1).state == "published"


def test_a_bundle_becomes_a_published_release(
    home: Home, releases: ReleaseService, bundle: Path
) -> None:
    """It is numbered, calibrated, and every device file is an artifact and a target."""
    number = releases.take_in(bundle)
    releases.publish(number)

    row = releases.get(number)
    assert (number, row.state) == (1, "published")
    assert '"joint"' in row.thresholds
    manifest = home.releases / "1" / "release.json"
    assert codec.decode(manifest.read_bytes(), Release) == row.manifest
    targets = {release_target("tiny", 1): sha256_of(manifest)}
    for ref in row.manifest.bundle.device_files:
        targets[file_target("tiny", 1, ref)] = ref.sha256
    for digest in targets.values():
        assert sha256_of(home.artifacts / digest) == digest
    text = releases.tuf_bundle().files["2.models.json"]
    assert all(path in text and digest in text for path, digest in targets.items())


def test_the_same_bundle_is_taken_in_once(
    home: Home, releases: ReleaseService, bundle: Path
) -> None:
    """The second time is a conflict that names the release."""
    releases.take_in(bundle)

    with pytest.raises(ConflictError, match="is release 1 already"):
        releases.take_in(bundle)
    assert [path.name for path in home.releases.iterdir()] == ["1"]


def test_a_job_that_is_judged_again_keeps_its_release(
    releases: ReleaseService, bundle: Path
) -> None:
    """After a crash the same bundle is the release that it already was."""
    assert releases.take_in_once(bundle) == 1
    assert releases.take_in_once(bundle) == 1


def test_publishing_again_does_no_harm(releases: ReleaseService, bundle: Path) -> None:
    """A crash between publication and its note is repaired by repeating it."""
    releases.take_in(bundle)
    releases.publish(1)
    releases.publish(1)

    assert releases.get(1).state == "published"


def _cut_model(folder: Path) -> None:
    path = folder / "model.tflite"
    path.write_bytes(path.read_bytes()[:-1])


def _other_model(folder: Path) -> None:
    path = folder / "model.tflite"
    path.write_bytes(path.read_bytes()[:-1] + b"!")


def _no_model(folder: Path) -> None:
    path = folder / "model.tflite"
    path.write_bytes(b"this is not a model, and it is signed by nobody" * 10)
    write_manifest(folder)


def _linked_card(folder: Path) -> None:
    (folder / "card.md").unlink()


def _other_golden(folder: Path) -> None:
    with np.load(folder / "golden.npz") as golden:
        x, wrong = golden["x"], np.roll(golden["probabilities"], 1, axis=1)
    np.savez(folder / "golden.npz", x=x, probabilities=wrong, atol=np.float32(1e-3))
    write_manifest(folder)


def _golden_shape(folder: Path) -> None:
    np.savez(
        folder / "golden.npz",
        x=np.zeros((2, 3), np.float32),
        probabilities=np.zeros((2, 7), np.float32),
        atol=np.float32(0.1),
    )
    write_manifest(folder)


def _pickled_calibration(folder: Path) -> None:
    np.savez(
        folder / "calibration.npz",
        values=np.zeros((2, 9)),
        group=np.array([{"a": 1}, None], dtype=object),
    )
    write_manifest(folder)


def _calibration_width(folder: Path) -> None:
    np.savez(
        folder / "calibration.npz", values=np.zeros((2, 3)), group=np.array(["a", "b"])
    )
    write_manifest(folder)


def _reference(folder: Path, change: Callable[[ReferenceProfile], object]) -> None:
    path = folder / "reference.json"
    profile = codec.decode(path.read_bytes(), ReferenceProfile)
    path.write_bytes(msgspec.json.encode(change(profile)))
    write_manifest(folder)


def _reference_counts(folder: Path) -> None:
    def change(profile: ReferenceProfile) -> ReferenceProfile:
        data = msgspec.structs.replace(profile.data, counts=profile.data.counts[1:])
        return msgspec.structs.replace(profile, data=data)

    _reference(folder, change)


def _reference_tensor(folder: Path) -> None:
    def change(profile: ReferenceProfile) -> ReferenceProfile:
        last = msgspec.structs.replace(profile.channels[-1], tensor="nowhere")
        channels = [*profile.channels[:-1], last]
        return msgspec.structs.replace(profile, channels=channels)

    _reference(folder, change)


def _not_json(folder: Path) -> None:
    (folder / "bundle.json").write_text("{", "utf-8")


def _gate_refused(folder: Path) -> None:
    write_manifest(folder, gate_ok=False)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (_not_json, ("HUB-RELEASE-001", "bundle.json")),
        (_linked_card, ("HUB-RELEASE-002", "card.md is missing")),
        (_cut_model, ("HUB-RELEASE-003", "model.tflite has")),
        (_other_model, ("HUB-RELEASE-003", "model.tflite has sha256")),
        (_reference_counts, ("HUB-RELEASE-004", "counts for 8 of 9 channels")),
        (_reference_tensor, ("HUB-RELEASE-004", "no output 'nowhere'")),
        (_golden_shape, ("HUB-RELEASE-005", "window has shape")),
        (_pickled_calibration, ("HUB-RELEASE-006", "calibration.npz cannot be read")),
        (_calibration_width, ("HUB-RELEASE-006", "values have shape")),
        (_no_model, ("HUB-RELEASE-007", "model.tflite does not work: AGENT-MODEL-001")),
        (_other_golden, ("HUB-RELEASE-007", "golden input 0: output")),
        (_gate_refused, ("HUB-RELEASE-008", "accuracy")),
    ],
)
def test_a_bad_bundle_is_refused_with_file_and_reason(
    home: Home,
    releases: ReleaseService,
    bundle: Path,
    spoil: Callable[[Path], None],
    expected: tuple[str, str],
) -> None:
    """Nothing of it remains: no folder, no row, no artifact."""
    spoil(bundle)

    with pytest.raises(RefusedError) as refusal:
        releases.take_in(bundle)

    assert refusal.value.code == expected[0]
    assert expected[1] in str(refusal.value)
    assert list(home.releases.iterdir()) == []
    assert list(home.artifacts.iterdir()) == []
    assert releases.list_releases() == []


def test_a_refused_gate_can_be_overridden_with_a_reason(
    releases: ReleaseService, bundle: Path
) -> None:
    """The reason is kept beside the release."""
    write_manifest(bundle, gate_ok=False)

    number = releases.take_in(bundle, override_gate="fault drill")

    assert releases.note(number).override_gate == "fault drill"


def test_a_file_name_used_twice_is_refused(
    releases: ReleaseService, bundle: Path
) -> None:
    """Two roles for one file would let a model pass as its own reference."""
    row = write_manifest(bundle)
    edit_manifest(bundle, card=row.model)

    with pytest.raises(RefusedError, match="uses a file name twice"):
        releases.take_in(bundle)


def test_old_releases_leave_the_metadata_but_what_is_used_stays(
    tmp_path: Path, releases: ReleaseService
) -> None:
    """Only what a device may still install is authentic."""
    for seed in range(1, 6):
        releases.publish(releases.take_in(make_bundle(tmp_path / f"{seed}", seed=seed)))

    text = next(
        text
        for name, text in releases.tuf_bundle().files.items()
        if name.endswith(".models.json")
    )
    found = {n for n in range(1, 6) if release_target("tiny", n) in text}
    assert found == {2, 3, 4, 5}
