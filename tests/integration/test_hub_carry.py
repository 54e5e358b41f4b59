"""``hub releases download``: whole folders, assignments that stay in order."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edge_agent.update.folder import Folder
from edge_agent.wire import codec
from edge_agent.wire.control import Assignment
from edge_agent.wire.envelope import Envelope
from hub.cli import cli
from hub.config import Home
from hub.errors import ConflictError, HubError, NotFoundError, RefusedError
from hub.files import sha256_of
from hub.releases.tuf_repo import TargetRef
from hub.service import Services, open_services
from hub.storage import devices as device_store
from tests.carried import DEVICE, carry, make_hub


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Return a hub with two releases."""
    return make_hub(tmp_path)


@pytest.fixture
def services(home: Home) -> Iterator[Services]:
    """Return its services."""
    made = open_services(home)
    yield made
    made.engine.dispose()


def hub(home: Home, *words: str) -> Result:
    """Run a command of the hub in this process."""
    return CliRunner().invoke(cli, ["--home", str(home.path), *words])


def assignment_in(folder: Path, device: str = DEVICE) -> Assignment:
    """Return what a folder has a device run."""
    text = (folder / "assignments" / f"{device}.json").read_bytes()
    payload = codec.decode(text, Envelope).payload
    return codec.decode(payload.encode(), Assignment)


def test_a_folder_holds_the_set_the_files_and_the_assignment(
    home: Home, services: Services, tmp_path: Path
) -> None:
    """Metadata is the present set, artifacts are all of the release, nothing more."""
    to = tmp_path / "usb"

    done = hub(home, "releases", "download", "2", "--to", str(to), "--device", DEVICE)

    assert done.exit_code == 0, done.output
    assert Folder(to).bundle() == services.releases.tuf_bundle()
    signed = services.releases.authentic()
    wanted = {sha for path, sha in signed.items() if path.startswith("models/tiny/2/")}
    assert {path.name for path in (to / "artifacts").iterdir()} == wanted
    assert all(sha256_of(to / "artifacts" / sha256) == sha256 for sha256 in wanted)
    assert assignment_in(to).release == 2
    assert sorted(path.name for path in tmp_path.glob("usb*")) == ["usb"]


def test_a_device_that_is_assigned_something_gets_just_that(
    services: Services, home: Home, tmp_path: Path
) -> None:
    """The envelope is the database's, twice the same; no new number is used up."""
    carry(home, tmp_path / "first", 1, DEVICE)

    again = carry(home, tmp_path / "second", None, DEVICE)
    same = carry(home, tmp_path / "third", 1, DEVICE)

    assert (again.releases, again.seqs, same.seqs) == ([1], {DEVICE: 1}, {DEVICE: 1})
    _, row = services.devices.get(DEVICE)
    assert row is not None
    name = f"assignments/{DEVICE}.json"
    stored = {(tmp_path / n / name).read_text() for n in ("first", "second", "third")}
    assert stored == {row.envelope}


def test_what_is_assigned_later_is_above_it(
    services: Services, home: Home, tmp_path: Path
) -> None:
    """Folder and broker count in one sequence, whoever is first."""
    carry(home, tmp_path / "first", 1, DEVICE)
    later = services.devices.assign(DEVICE, 2, "r")
    carry(home, tmp_path / "second", 1, DEVICE)

    with services.engine.connect() as conn:
        (waiting,) = device_store.unpublished_assignments(conn)

    assert assignment_in(tmp_path / "first").seq < later
    assert assignment_in(tmp_path / "second").seq == later + 1 == waiting.seq


def test_a_device_that_was_never_heard_of_is_shown_so(
    home: Home, tmp_path: Path
) -> None:
    """It may be assigned something, and nobody claims to have seen it."""
    carry(home, tmp_path / "usb", 1, DEVICE)

    shown = hub(home, "devices", "list").output

    assert "never" in shown


def test_a_release_that_nothing_used_is_signed_again(
    services: Services, home: Home, tmp_path: Path
) -> None:
    """Pruned from the metadata, it comes back for the device that shall run it."""
    target = "models/tiny/1/release.json"
    keep = {p: s for p, s in services.releases.authentic().items() if "/2/" in p}
    releases = services.releases
    refs = [
        TargetRef(path=p, sha256=s, length=(home.artifacts / s).stat().st_size)
        for p, s in keep.items()
    ]
    releases._tuf.publish(refs, datetime.now(UTC))
    assert services.releases.authentic() == keep

    carry(home, tmp_path / "usb", 1, DEVICE)

    assert target in services.releases.authentic()
    assert Folder(tmp_path / "usb").bundle() == services.releases.tuf_bundle()


def test_what_cannot_be_done_is_refused_and_leaves_nothing(
    services: Services, home: Home, tmp_path: Path
) -> None:
    """Each refusal has its code; no folder and no half of one stays behind."""
    used, to = tmp_path / "used", tmp_path / "usb"
    used.mkdir()
    (used / "letter.txt").write_text("mine", "utf-8")
    sha256 = services.releases.authentic()["models/tiny/2/model.tflite"]
    (home.artifacts / sha256).write_bytes(b"damaged")

    with pytest.raises(ConflictError, match="HUB-CARRY-001"):
        carry(home, used, 1)
    with pytest.raises(NotFoundError, match="HUB-CARRY-003"):
        carry(home, to, None, "d9")
    with pytest.raises(RefusedError, match="HUB-CARRY-005"):
        carry(home, to, 1, "d/9")
    with pytest.raises(NotFoundError, match="HUB-RELEASE-010"):
        carry(home, to, 9)
    with pytest.raises(HubError, match="HUB-CARRY-006"):
        carry(home, to, 2)
    with pytest.raises(HubError, match="HUB-CARRY-004"):
        carry(home, tmp_path / "used" / "letter.txt" / "usb", 1)
    assert [path.name for path in used.iterdir()] == ["letter.txt"]
    assert list(tmp_path.glob("usb*")) == []


def test_json_says_until_when_devices_take_it(home: Home, tmp_path: Path) -> None:
    """The newest release is brought where none is named; metadata ends in a week."""
    to = tmp_path / "usb"

    done = hub(home, "releases", "download", "--to", str(to), "--json")

    said = json.loads(done.stdout)
    assert said["releases"] == [2]
    assert said["seqs"] == {}
    timestamp = json.loads((to / "tuf" / "timestamp.json").read_text("utf-8"))
    ends_at = datetime.fromisoformat(timestamp["signed"]["expires"])
    assert said["valid_until"] == ends_at.timestamp()
