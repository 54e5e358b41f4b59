"""The key ceremony and what devices make of it: real keys, files, and client."""

from datetime import timedelta
from pathlib import Path

import pytest

from edge_agent.errors import UpdateError
from hub.errors import DeniedError, HubError, NotFoundError
from hub.releases.ceremony import Ceremony, NewKeys
from hub.releases.roles import next_root
from tests.hub_keys import (
    DAY_S,
    FIRST,
    PASSPHRASE,
    SECOND,
    START_AT,
    HandClock,
    KeyRig,
    make_old_home,
)

ROLES = ("root", "targets", "models", "online")


@pytest.fixture
def rig(tmp_path: Path) -> KeyRig:
    """Return a home whose offline keys are elsewhere, with one release published."""
    made = KeyRig(tmp_path)
    made.alone().tuf.publish([FIRST], made.clock.now())
    return made


def leave(rig: KeyRig, role: str, count: int) -> None:
    """Take away all but ``count`` offline keys of a role."""
    for path in sorted(rig.offline.glob(f"{role}-*.pem"))[count:]:
        path.unlink()


def test_a_new_home_has_two_of_three_root_keys_and_none_of_them_in_the_hub(
    rig: KeyRig,
) -> None:
    """Offline keys are protected and elsewhere; the hub's own are its owner's only."""
    root = rig.alone().tuf.present().root.signed
    names = {path.name.split("-")[0] for path in rig.home.keys.iterdir()}
    offline = list(rig.offline.iterdir())

    assert (root.roles["root"].threshold, len(root.roles["root"].keyids)) == (2, 3)
    assert names == {"models", "online"}
    assert len(offline) == 4
    assert all(b"ENCRYPTED" in path.read_bytes() for path in offline)
    modes = {
        path.stat().st_mode & 0o777 for path in (*offline, *rig.home.keys.iterdir())
    }
    assert modes == {0o600}


def test_the_hub_publishes_and_renews_by_itself(rig: KeyRig) -> None:
    """Models, snapshot and timestamp need no person."""
    device = rig.device()
    assert rig.accepts(device)

    rig.alone().tuf.publish([SECOND], rig.clock.now())

    assert rig.accepts(device, SECOND)


@pytest.mark.parametrize("role", ROLES)
def test_devices_follow_the_rotation_of_every_key(rig: KeyRig, role: str) -> None:
    """One that saw the old set and one that saw nothing yet; the old key is void."""
    device = rig.device()
    assert rig.accepts(device)
    before = rig.alone().tuf.present()
    name = {"online": "timestamp"}.get(role, role)

    done = rig.ceremony().rotate(role, rig.new)

    after = rig.alone().tuf.present()
    assert set(after.holders(name).keyids).isdisjoint(before.holders(name).keyids)
    assert len(done.made) == (3 if role == "root" else 1)
    assert rig.accepts(device)
    assert rig.accepts(rig.device("fresh"))
    assert rig.accepts(rig.device("newest", rig.home.root_file.read_bytes()))
    rig.alone().tuf.publish([SECOND], rig.clock.now())
    assert rig.accepts(device, SECOND)


def test_a_chain_of_rotations_leads_from_the_first_root_to_the_newest(
    rig: KeyRig,
) -> None:
    """A device that slept through all of them catches up at once, months later."""
    device = rig.device()
    assert rig.accepts(device)
    for round_ in range(3):
        rig.clock.at += 90 * DAY_S
        for role in ROLES:
            rig.ceremony().rotate(role, rig.new)
        leave_newest(rig, round_)

    assert rig.accepts(device)
    assert device.versions.root == 10
    assert len([n for n in rig.alone().tuf.bundle().files if "root" in n]) == 10


def leave_newest(rig: KeyRig, round_: int) -> None:
    """Destroy replaced offline keys, as a person would; each round leaves four."""
    used = {
        Path(key.path).name
        for role in rig.ceremony().status().roles
        for key in role.keys
    }
    for path in rig.offline.iterdir():
        if path.name not in used:
            path.unlink()
    assert len(list(rig.offline.iterdir())) == 4, round_


@pytest.mark.parametrize("role", ["root", "targets", "online"])
def test_two_root_keys_are_enough_and_one_is_not(rig: KeyRig, role: str) -> None:
    """A lost root key is no loss; a single one signs nothing, and nothing changes."""
    leave(rig, "root", 2)
    rig.ceremony().rotate("online", rig.new)
    leave(rig, "root", 1)
    files = {path.name for path in rig.home.tuf.iterdir()}

    with pytest.raises(DeniedError, match=r"2 of the 3 keys of root") as error:
        rig.ceremony().rotate(role, rig.new)

    assert error.value.code == "HUB-KEYS-005"
    assert {path.name for path in rig.home.tuf.iterdir()} == files
    assert rig.accepts(rig.device())


def test_a_wrong_passphrase_changes_nothing(rig: KeyRig) -> None:
    """No key is made before those that must sign are open."""
    files = {path.name for path in (*rig.home.tuf.iterdir(), *rig.home.keys.iterdir())}

    with pytest.raises(DeniedError) as error:
        rig.ceremony(b"not this one").rotate("online", rig.new)

    assert error.value.code == "HUB-KEYS-004"
    after = {path.name for path in (*rig.home.tuf.iterdir(), *rig.home.keys.iterdir())}
    assert after == files


def test_a_set_that_no_device_would_take_is_never_written(rig: KeyRig) -> None:
    """A root with another targets key, without targets that it signed."""
    ceremony = rig.ceremony()
    files = {path.name for path in rig.home.tuf.iterdir()}
    with ceremony.tuf.changing() as present:
        key = ceremony.signer.make(rig.offline, "targets", None)
        root = next_root(present.root.signed, rig.clock.now(), {"targets": [key]})
        with pytest.raises(HubError, match=r"HUB-TUF-003"):
            ceremony.tuf.replace(present, rig.clock.now(), root=root)

    assert {path.name for path in rig.home.tuf.iterdir()} == files


def test_the_replaced_key_of_the_hub_is_deleted_and_offline_ones_are_named(
    rig: KeyRig,
) -> None:
    """The hub keeps no key that is void; a person destroys the others."""
    old = list(rig.home.keys.glob("online-*.pem"))
    rig.ceremony().rotate("online", rig.new)
    done = rig.ceremony().rotate("targets", rig.new)

    assert [path.exists() for path in old] == [False]
    assert len(list(rig.home.keys.glob("online-*.pem"))) == 1
    assert [path.parent for path in done.replaced] == [rig.offline]


def test_a_lost_online_key_is_replaced_without_it(rig: KeyRig) -> None:
    """Root vouches for a new one; the old is not needed for that."""
    device = rig.device()
    assert rig.accepts(device)
    for path in rig.home.keys.glob("online-*.pem"):
        path.unlink()
    with pytest.raises(DeniedError):
        rig.alone().tuf.publish([SECOND], rig.clock.now())

    rig.ceremony().rotate("online", rig.new)

    assert rig.accepts(device)


def test_a_home_with_one_plain_key_a_role_is_brought_over(tmp_path: Path) -> None:
    """It works as it did; `rotate root` makes it two of three, behind a passphrase."""
    clock = HandClock()
    home = make_old_home(tmp_path / "home", clock)
    rig = KeyRig(tmp_path / "unused")
    rig.home, rig.clock, rig.folder = home, clock, tmp_path
    rig.anchor = home.root_file.read_bytes()
    rig.offline = tmp_path / "offline"
    new = NewKeys(folder=rig.offline, passphrase=PASSPHRASE)
    device = rig.device()
    Ceremony(home, clock).tuf.publish([FIRST], clock.now())
    assert rig.accepts(device)
    warned = " ".join(w.text for w in Ceremony(home, clock).status().warnings)
    assert "one key is enough" in warned
    assert "2 keys of root and targets lie in the hub's home" in warned

    for role in ROLES:
        rig.ceremony().rotate(role, new)

    assert rig.accepts(device)
    assert device.versions.root == 4
    assert {path.name.split("-")[0] for path in home.keys.iterdir()} == {
        "models",
        "online",
    }
    assert rig.ceremony().status().warnings == []


def test_a_protected_release_key_publishes_with_its_holder_only(tmp_path: Path) -> None:
    """The hub by itself then signs no model, and does not try to."""
    rig = KeyRig(tmp_path)
    new = NewKeys(folder=rig.offline, passphrase=PASSPHRASE, protect_models=True)
    rig.ceremony().rotate("models", new)
    with pytest.raises(DeniedError, match=r"1 of the 1 keys of models"):
        rig.alone().tuf.publish([FIRST], rig.clock.now())
    assert not rig.alone().tuf.can_sign("models")

    rig.ceremony().tuf.publish([FIRST], rig.clock.now())

    assert rig.accepts(rig.device())
    rig.clock.at += 80 * DAY_S
    assert rig.alone().tuf.refresh(rig.clock.now())
    assert rig.accepts(rig.device())


def test_every_root_can_be_exported(rig: KeyRig) -> None:
    """Roots are kept for ever; one that never was is not found."""
    rig.ceremony().rotate("online", rig.new)

    assert rig.alone().root(1) == rig.anchor
    assert rig.alone().root() == rig.alone().root(2) == rig.home.root_file.read_bytes()
    with pytest.raises(NotFoundError):
        rig.alone().root(3)


def test_the_hub_renews_for_months_and_targets_wait_for_a_person(rig: KeyRig) -> None:
    """Daily for 400 days; past the end of targets devices refuse, and it heals."""
    device = rig.device()
    for day in range(1, 400):
        rig.clock.at = START_AT + day * (DAY_S + 1)
        assert rig.alone().tuf.refresh(rig.clock.now())
        assert not rig.alone().tuf.refresh(rig.clock.now() + timedelta(hours=20))
        if day < 365:
            assert rig.accepts(device)
        told = [w.text for w in rig.alone().status().warnings]
        assert any("targets" in text for text in told) is (day >= 305), day

    with pytest.raises(UpdateError, match=r"AGENT-UPDATE-011"):
        rig.accepts(device)
    rig.ceremony().refresh(["targets"])

    assert rig.accepts(device)
    assert rig.alone().status().warnings == []


def test_warnings_name_a_cure(rig: KeyRig) -> None:
    """A key that others can read, one of nobody, and a hub that does not sign."""
    (key,) = rig.home.keys.glob("models-*.pem")
    key.chmod(0o644)
    (rig.home.keys / f"online-{'0' * 16}.pem").write_bytes(key.read_bytes())
    rig.clock.at += 3.1 * DAY_S

    found = rig.alone().status().warnings

    assert [w.cure.split(" ")[0] for w in found] == ["chmod", "destroy", "hub"]
    assert all(w.text for w in found)
