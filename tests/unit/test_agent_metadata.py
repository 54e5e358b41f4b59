"""The trusted metadata set: what is accepted, what is refused, and with which code."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from edge_agent.errors import UpdateError
from edge_agent.update.metadata import LIMITS, Trust
from edge_agent.update.verify import open_assignment, open_command
from edge_agent.wire.control import Assignment, Command, StopCollecting, TufBundle
from tests.fakes.tuf_repository import TufRepository, sha256_of

TARGET = "models/watch/1/release.json"


@pytest.fixture
def repository() -> TufRepository:
    """Return a repository with one target."""
    repository = TufRepository()
    repository.add({TARGET: b"manifest"})
    return repository


@pytest.fixture
def trust(repository: TufRepository, tmp_path: Path) -> Trust:
    """Return a device that was provisioned with the repository's root."""
    return Trust(tmp_path / "tuf", repository.root_versions[0])


def assignment(**changes: object) -> Assignment:
    """Return an assignment of release 1."""
    made = Assignment(
        device="d1",
        seq=1,
        release=1,
        target=TARGET,
        rollout="r1",
        issued_at=1.0,
        artifacts_url="http://127.0.0.1:1",
    )
    return msgspec.structs.replace(made, **changes)


def test_target_is_found(repository: TufRepository, trust: Trust) -> None:
    """A delegated target is known by digest and length after a refresh."""
    trust.refresh(repository.bundle(), time.time())

    found = trust.find(TARGET)

    assert (found.sha256, found.bytes) == (sha256_of(b"manifest"), 8)
    assert trust.versions.timestamp == 1


def test_metadata_survives_restart(
    repository: TufRepository, trust: Trust, tmp_path: Path
) -> None:
    """A new process finds targets without the hub."""
    trust.refresh(repository.bundle(), time.time())

    again = Trust(tmp_path / "tuf", repository.root_versions[0])

    assert again.versions.timestamp == 1
    again.refresh(None, time.time())
    assert again.find(TARGET).bytes == 8


def test_a_device_believes_the_root_that_it_was_given_last(
    repository: TufRepository, trust: Trust, tmp_path: Path
) -> None:
    """Given to another hub, it forgets the old one's keys, whatever is kept of it."""
    trust.refresh(repository.bundle(), time.time())
    other = TufRepository()
    other.add({TARGET: b"another"})

    moved = Trust(tmp_path / "tuf", other.root_versions[0])

    with pytest.raises(UpdateError):
        moved.refresh(repository.bundle(), time.time())
    moved.refresh(other.bundle(), time.time())
    assert moved.find(TARGET).sha256 == sha256_of(b"another")


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets", "models"])
def test_no_role_is_read_beyond_its_limit(
    repository: TufRepository, trust: Trust, role: str
) -> None:
    """Each file has a bound of its own, far below that of a message."""
    bundle = repository.bundle()
    most = getattr(LIMITS, f"{'targets' if role == 'models' else role}_max_length")
    assert most <= 256_000
    name = next(name for name in bundle.files if name.endswith(f"{role}.json"))
    if role == "root":
        name = "2.root.json"
    padded = {**bundle.files, name: bundle.files.get(name, "{}") + " " * most}

    def look() -> None:
        trust.refresh(TufBundle(files=padded), time.time())
        trust.find(TARGET)

    with pytest.raises(UpdateError) as error:
        look()

    assert error.value.code in {"AGENT-UPDATE-010", "AGENT-UPDATE-014"}


def test_only_the_online_key_signs_messages(
    repository: TufRepository, trust: Trust
) -> None:
    """Root names other keys too, for other things."""
    trust.refresh(repository.bundle(), time.time())
    for name, signer in repository.signers.items():
        signed = signer.sign(b"message")
        is_known = trust.verify(signed.keyid, b"message", signed.signature)
        assert is_known is (name == "online")


def test_unknown_target(repository: TufRepository, trust: Trust) -> None:
    """A path that nobody signed for is refused."""
    trust.refresh(repository.bundle(), time.time())

    with pytest.raises(UpdateError) as error:
        trust.find("models/watch/2/release.json")

    assert error.value.code == "AGENT-UPDATE-015"


def test_wrong_signer(repository: TufRepository, trust: Trust) -> None:
    """The online key cannot sign for a model."""
    trust.refresh(repository.bundle(models_signer="online"), time.time())

    with pytest.raises(UpdateError) as error:
        trust.find(TARGET)

    assert error.value.code == "AGENT-UPDATE-012"


def test_rollback(repository: TufRepository, trust: Trust) -> None:
    """Older metadata than was seen is refused, and the newer set stays trusted."""
    old = repository.bundle()
    trust.refresh(repository.bundle(), time.time())

    with pytest.raises(UpdateError) as error:
        trust.refresh(old, time.time())

    assert error.value.code == "AGENT-UPDATE-013"
    assert trust.versions.timestamp == 2
    assert trust.find(TARGET).bytes == 8


def test_expiry_is_judged_at_the_trusted_time(tmp_path: Path) -> None:
    """Metadata that expired by the trusted time is refused whatever the clock says."""
    repository = TufRepository(datetime.now(UTC) + timedelta(days=1))
    trust = Trust(tmp_path / "tuf", repository.root_versions[0])

    with pytest.raises(UpdateError) as error:
        trust.refresh(repository.bundle(), time.time() + 2 * 86400)

    assert error.value.code == "AGENT-UPDATE-011"
    assert error.value.retryable


def test_no_metadata_yet(trust: Trust) -> None:
    """Before any bundle came the device waits instead of failing."""
    with pytest.raises(UpdateError) as error:
        trust.refresh(None, time.time())

    assert error.value.retryable
    assert trust.versions.root == 1
    assert trust.versions.timestamp == 0


def test_bad_root(tmp_path: Path) -> None:
    """A provisioned root that is not metadata is refused with a cure."""
    with pytest.raises(UpdateError, match=r"AGENT-UPDATE-009"):
        Trust(tmp_path / "tuf", b"nonsense")


def test_envelopes_are_opened(repository: TufRepository, trust: Trust) -> None:
    """Assignments and commands by the online key are opened."""
    made = assignment()
    command = Command(device="d1", id=1, expires_at=2.0, action=StopCollecting())

    assert open_assignment(repository.assign(made), "d1", trust.verify) == made
    assert open_command(repository.command(command), "d1", trust.verify) == command


@pytest.mark.parametrize("field", ["payload", "keyid", "sig"])
def test_changed_envelope(repository: TufRepository, trust: Trust, field: str) -> None:
    """An envelope with one changed part is not authentic."""
    envelope = repository.assign(assignment())
    text = getattr(envelope, field)
    changed = msgspec.structs.replace(
        envelope, **{field: text.replace(text[5], "0" if text[5] != "0" else "1")}
    )

    with pytest.raises(UpdateError) as error:
        open_assignment(changed, "d1", trust.verify)

    assert error.value.code == "AGENT-UPDATE-030"


def test_purpose_is_signed(repository: TufRepository, trust: Trust) -> None:
    """A signed assignment is worth nothing as a command."""
    with pytest.raises(UpdateError, match=r"AGENT-UPDATE-030"):
        open_command(repository.assign(assignment()), "d1", trust.verify)


def test_other_device(repository: TufRepository, trust: Trust) -> None:
    """An assignment for another device is refused."""
    with pytest.raises(UpdateError, match=r"AGENT-UPDATE-032"):
        open_assignment(repository.assign(assignment()), "d2", trust.verify)


def test_key_rotation(repository: TufRepository, trust: Trust) -> None:
    """After a new root only the new online key's envelopes count."""
    old = repository.assign(assignment())
    repository.rotate_online_key()
    new = repository.assign(assignment())

    with pytest.raises(UpdateError, match=r"AGENT-UPDATE-030"):
        open_assignment(new, "d1", trust.verify)
    trust.refresh(repository.bundle(), time.time())

    assert open_assignment(new, "d1", trust.verify).seq == 1
    with pytest.raises(UpdateError, match=r"AGENT-UPDATE-030"):
        open_assignment(old, "d1", trust.verify)
