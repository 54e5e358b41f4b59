"""Attacks on what devices install, each with the keys that its thief would have.

A hub's real keys and metadata, the agent's real client, journal and runner. The broker
is the thief's: the bundle that he hands over is all that a device ever sees.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tuf.api.metadata import TargetFile

from edge_agent.errors import UpdateError
from edge_agent.link.twin import Twin
from edge_agent.update.metadata import Trust
from edge_agent.wire.codec import encode
from edge_agent.wire.control import (
    Assignment,
    CollectSamples,
    Command,
    Presence,
    TufBundle,
)
from edge_agent.wire.topics import HUB_TUF
from edge_agent.wire.trust import MIN_RELEASE, SIGNED_AT
from hub.releases.tuf_repo import TargetRef
from tests.fakes.thief import Thief, forge_assignment, forge_command, steal
from tests.fakes.updating_device import NOWHERE, DeviceClock, UpdatingDevice
from tests.hub_keys import DAY_S, FIRST, PASSPHRASE, SECOND, KeyRig

FAR = 2**31 - 1
EVIL = TargetRef(path="models/tiny/9/release.json", sha256="e" * 64, length=9)


def assignment(
    release: int = 1, seq: int = 1, at: float = 1.0, **other: str
) -> Assignment:
    """Return an assignment as the hub makes them."""
    return Assignment(
        device=other.get("device", "d1"),
        seq=seq,
        release=release,
        target=f"models/tiny/{release}/release.json",
        rollout="r1",
        issued_at=at,
        artifacts_url=NOWHERE,
    )


@dataclass
class Scene:
    """A hub with two releases, a device that has seen it, and what thieves took."""

    rig: KeyRig
    device: UpdatingDevice

    def __post_init__(self) -> None:
        """Publish, let the device see it, and copy every key."""
        rig = self.rig
        rig.alone().tuf.publish([FIRST, SECOND], rig.clock.now())
        self.online = steal(rig.home.keys, "online")
        self.models = steal(rig.home.keys, "models")
        self.root = steal(rig.offline, "root", PASSPHRASE)
        self.targets = steal(rig.offline, "targets", PASSPHRASE)
        self.hear(self.bundle())

    @property
    def trust(self) -> Trust:
        """The device's client."""
        return self.device.trust

    def bundle(self) -> TufBundle:
        """Return what the hub publishes now."""
        return self.rig.alone().tuf.bundle()

    def thief(self) -> Thief:
        """Return somebody who saw that."""
        return Thief(self.bundle())

    def hear(self, bundle: TufBundle) -> None:
        """Deliver metadata to the device."""
        self.device.runner.on_metadata(bundle)

    def refuses(self, bundle: TufBundle) -> str:
        """Deliver metadata straight to the client; return the code of its refusal."""
        with pytest.raises(UpdateError) as error:
            self.trust.refresh(bundle, self.rig.clock.at)
        return error.value.code

    def takes_up(self, envelope_of: Assignment, key: Any = None) -> str:  # noqa: ANN401
        """Deliver an assignment by the online key; return the phase it comes to."""
        envelope = forge_assignment(envelope_of, key or self.online[0])
        self.device.runner.on_desired(envelope)
        return self.device.settle(120)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Set the scene."""
    rig = KeyRig(tmp_path)
    clock = DeviceClock(rig.clock.at)
    return Scene(rig, UpdatingDevice(tmp_path / "device", rig.anchor, clock))


def add(target: TargetRef) -> Any:  # noqa: ANN401 - a change of the thief's
    """Return a change that adds a target."""

    def change(models: Any) -> None:  # noqa: ANN401 - TUF's
        models.targets[target.path] = TargetFile(
            target.length, {"sha256": target.sha256}, target.path
        )

    return change


def test_metadata_of_strangers_is_refused(scene: Scene, tmp_path: Path) -> None:
    """Arbitrary content: another hub's keys sign nothing here."""
    other = KeyRig(tmp_path / "other")
    other.alone().tuf.publish([EVIL], other.clock.now())
    for _ in range(5):
        other.alone().tuf.refresh(other.clock.now(), force=["snapshot"])

    assert scene.refuses(other.alone().tuf.bundle()) == "AGENT-UPDATE-012"
    with pytest.raises(UpdateError, match=r"AGENT-UPDATE-015"):
        scene.trust.find(EVIL.path)


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "models"])
def test_a_changed_digit_is_refused(scene: Scene, role: str) -> None:
    """Arbitrary content: no signed file can be made to last longer."""
    scene.rig.alone().tuf.publish([FIRST], scene.rig.clock.now())
    good = scene.bundle()
    (name,) = [name for name in good.files if name.endswith(f"{role}.json")]
    changed = re.sub(r'"expires":\s*"202', '"expires":"203', good.files[name])
    assert changed != good.files[name]
    bad = TufBundle(files={**good.files, name: changed})

    assert refusal(scene, bad) == "AGENT-UPDATE-012"


def refusal(scene: Scene, bundle: TufBundle) -> str:
    """Return the code with which a new device refuses metadata or its targets."""
    device = scene.rig.device("new")
    try:
        device.refresh(bundle, scene.rig.clock.at)
        device.find(FIRST.path)
    except UpdateError as error:
        return error.code
    return ""


def test_a_whole_old_repository_is_refused(scene: Scene) -> None:
    """Rollback: what was valid yesterday, replayed."""
    old = scene.bundle()
    scene.rig.alone().tuf.publish([SECOND], scene.rig.clock.now())
    scene.hear(scene.bundle())

    assert scene.refuses(old) == "AGENT-UPDATE-013"
    assert scene.trust.find(SECOND.path).sha256 == SECOND.sha256


def test_a_rollback_signed_with_the_stolen_online_key_is_refused(scene: Scene) -> None:
    """New timestamp and snapshot that name older roles: versions only rise."""
    old = scene.bundle()
    scene.rig.alone().tuf.publish([SECOND], scene.rig.clock.now())
    scene.hear(scene.bundle())
    thief = scene.thief()
    thief.files |= {n: t for n, t in old.files.items() if n not in thief.files}

    forged = thief.lead_to(scene.online, models=2)

    assert scene.refuses(forged.bundle()) == "AGENT-UPDATE-013"


def test_files_of_different_sets_do_not_mix(scene: Scene) -> None:
    """Mix and match: the snapshot says which version of each role belongs to it."""
    old = scene.bundle()
    scene.rig.alone().tuf.publish([SECOND], scene.rig.clock.now())
    new = scene.bundle()
    files = {**new.files, "3.models.json": old.files["2.models.json"]}
    scene.hear(TufBundle(files=files))

    with pytest.raises(UpdateError, match=r"AGENT-UPDATE-013"):
        scene.trust.find(SECOND.path)
    files = {**new.files, "timestamp.json": old.files["timestamp.json"]}
    assert scene.refuses(TufBundle(files=files)) == "AGENT-UPDATE-013"


def test_endless_metadata_is_cut_off(scene: Scene) -> None:
    """A file beyond its bound is not read; a message beyond its is not decoded."""
    long = scene.thief()
    long.forge(
        "timestamp",
        lambda timestamp: timestamp.unrecognized_fields.update(x="x" * 20_000),
        scene.online,
    )
    assert scene.refuses(long.bundle()) == "AGENT-UPDATE-010"
    endless = {**scene.bundle().files, "timestamp.json": "x" * (1 << 18)}
    message = encode(TufBundle(files=endless)).replace(b"xxxx", b"xxxxxxxx")
    birth = Presence(device="d1", boot="a" * 16, online=True, at=1.0)

    assert Twin(birth).decode(HUB_TUF, message) is None


def test_the_online_key_signs_no_model(scene: Scene) -> None:
    """Snapshot and timestamp lead to it, but `models` is another key's."""
    forged = scene.thief().forge("models", add(EVIL), scene.online)
    scene.hear(forged.lead_to(scene.online).bundle())

    with pytest.raises(UpdateError, match=r"AGENT-UPDATE-012"):
        scene.trust.find(EVIL.path)


def test_the_online_key_signs_no_targets_and_no_floor(scene: Scene) -> None:
    """Who may sign models is for the offline key to say."""

    def lower(targets: Any) -> None:  # noqa: ANN401 - TUF's
        targets.unrecognized_fields[MIN_RELEASE] = 0

    forged = scene.thief().forge("targets", lower, [*scene.online, *scene.models])

    code = scene.refuses(forged.lead_to(scene.online).bundle())

    assert code == "AGENT-UPDATE-012"


@pytest.mark.parametrize("count", [1, 2])
def test_one_root_key_signs_no_root(scene: Scene, count: int) -> None:
    """With one of three stolen nothing happens; two, and the fleet is theirs."""

    def take_over(root: Any) -> None:  # noqa: ANN401 - TUF's
        root.roles["root"].threshold = count

    forged = scene.thief().forge("root", take_over, scene.root[:count])
    if count == 1:
        assert scene.refuses(forged.bundle()) == "AGENT-UPDATE-012"
        assert scene.trust.versions.root == 1
    else:
        scene.hear(forged.bundle())
        assert scene.trust.versions.root == 2


def test_the_models_key_signs_nothing_but_models(scene: Scene) -> None:
    """Its path is `models/*/*/*`; the agent's package is not there."""
    package = TargetRef(path="agent/pkg.whl", sha256="e" * 64, length=9)
    forged = scene.thief().forge("models", add(package), scene.models)
    scene.hear(forged.lead_to(scene.online).bundle())

    with pytest.raises(UpdateError, match=r"AGENT-UPDATE-015"):
        scene.trust.find(package.path)


def test_a_stolen_hub_signs_models_until_its_two_keys_are_replaced(
    scene: Scene,
) -> None:
    """The honest limit of online keys, and what ends it; the device follows alone."""
    forged = scene.thief().forge("models", add(EVIL), scene.models)
    scene.hear(forged.lead_to(scene.online).bundle())
    assert scene.trust.find(EVIL.path).sha256 == EVIL.sha256
    thief = Thief(forged.bundle())

    for role in ("online", "models"):
        scene.rig.ceremony().rotate(role, scene.rig.new)
    scene.hear(scene.bundle())

    with pytest.raises(UpdateError, match=r"AGENT-UPDATE-015"):
        scene.trust.find(EVIL.path)
    thief.files |= {n: t for n, t in scene.bundle().files.items() if "root" in n}
    thief.lead_to(scene.online)
    assert scene.refuses(thief.bundle()) == "AGENT-UPDATE-012"
    assert scene.takes_up(assignment(9, seq=5)) == "IDLE"


def test_fast_forwarded_metadata_recovers_when_the_key_is_replaced(
    scene: Scene,
) -> None:
    """Versions at their end lock the hub out, until root names another key."""

    def forward(signed: Any) -> None:  # noqa: ANN401 - TUF's
        signed.version = FAR
        if signed.type == "timestamp":
            signed.snapshot_meta.version = FAR

    thief = scene.thief().forge("snapshot", forward, scene.online)
    thief.forge("timestamp", forward, scene.online)
    scene.hear(thief.bundle())
    assert scene.trust.versions.timestamp == FAR
    scene.rig.alone().tuf.publish([FIRST], scene.rig.clock.now())
    assert scene.refuses(scene.bundle()) == "AGENT-UPDATE-013"

    scene.rig.ceremony().rotate("online", scene.rig.new)
    scene.hear(scene.bundle())

    assert scene.trust.versions.timestamp == scene.rig.alone().tuf.version()
    scene.device.restart()
    assert scene.trust.find(FIRST.path).sha256 == FIRST.sha256


def test_a_fast_forwarded_clock_recovers_when_the_key_is_replaced(
    scene: Scene,
) -> None:
    """A signed time in the year 5000 lets everything expire, until then."""

    def forward(timestamp: Any) -> None:  # noqa: ANN401 - TUF's
        timestamp.unrecognized_fields[SIGNED_AT] = 95_617_584_000

    scene.hear(scene.thief().forge("timestamp", forward, scene.online).bundle())
    scene.rig.clock.at += DAY_S
    scene.rig.alone().tuf.refresh(scene.rig.clock.now(), force=["snapshot"])
    scene.hear(scene.bundle())
    assert scene.device.runner.trusted_now() > 9e10
    stuck = scene.trust.versions

    scene.rig.ceremony().rotate("online", scene.rig.new)
    scene.hear(scene.bundle())

    assert scene.trust.versions.timestamp > stuck.timestamp
    assert abs(scene.device.runner.trusted_now() - scene.rig.clock.at) < 2 * DAY_S
    scene.device.restart()
    assert scene.device.runner.trusted_now() < 9e10


def test_fast_forwarded_assignments_and_commands_recover_too(scene: Scene) -> None:
    """Numbers at their end are void with the key that signed them."""
    assert scene.takes_up(assignment(2, seq=2**53)) == "DOWNLOAD"
    action = CollectSamples(max_samples=1)
    far = Command(device="d1", id=2**53, expires_at=4e9, action=action)
    now = scene.rig.clock.at
    scene.device.commands.on_command(forge_command(far, scene.online[0]), now)
    assert scene.takes_up(assignment(1, seq=2)) == "DOWNLOAD"
    assert scene.device.runner.state.assignment == assignment(2, seq=2**53)

    scene.rig.ceremony().rotate("online", scene.rig.new)
    (new,) = steal(scene.rig.home.keys, "online")
    scene.hear(scene.bundle())

    assert scene.takes_up(assignment(2, seq=2**53 - 1)) == "DOWNLOAD"
    assert scene.device.runner.state.seq == 0
    assert scene.takes_up(assignment(1, seq=2), new) == "DOWNLOAD"
    assert scene.device.runner.state.seq == 2
    near = msgspec.structs.replace(far, id=3)
    scene.device.commands.on_command(forge_command(near, new), now)
    assert [command.id for command in scene.device.commands_done] == [2**53, 3]


def test_an_assignment_for_another_device_is_refused(scene: Scene) -> None:
    """Wrong device, wrong model: the device's name is in what is signed."""
    assert scene.takes_up(assignment(1, device="d2")) == "IDLE"
    assert scene.device.runner.state.seq == 0


def test_an_old_assignment_is_refused(scene: Scene) -> None:
    """Replay: a lower number than was seen changes nothing, also after a restart."""
    assert scene.takes_up(assignment(2, seq=7)) == "DOWNLOAD"

    scene.takes_up(assignment(1, seq=6))
    scene.device.restart()
    scene.takes_up(assignment(1, seq=7))

    assert scene.device.runner.state.candidate == 2


def test_an_older_release_is_a_newer_assignment(scene: Scene) -> None:
    """Going back is no rollback to TUF: the hub assigns it, and it is authentic."""
    assert scene.takes_up(assignment(2, seq=1)) == "DOWNLOAD"

    assert scene.takes_up(assignment(1, seq=2)) == "DOWNLOAD"
    assert scene.device.runner.state.candidate == 1


def test_a_stolen_hub_cannot_go_below_the_floor(scene: Scene) -> None:
    """An authentic release with a known flaw: the offline key says no."""
    scene.rig.ceremony().set_floor(2)
    scene.hear(scene.bundle())
    later = scene.thief().lead_to(scene.online)
    scene.hear(later.bundle())

    assert scene.takes_up(assignment(1, seq=1)) == "IDLE"
    (report,) = scene.device.reports()
    assert (report.outcome, report.code) == ("failed", "AGENT-UPDATE-034")
    assert "below 2" in report.detail
    assert scene.takes_up(assignment(2, seq=2)) == "DOWNLOAD"


def test_a_floor_is_not_lowered_by_replaying_targets(scene: Scene) -> None:
    """The targets of before the floor are older, and so refused."""
    before = scene.bundle()
    scene.rig.ceremony().set_floor(2)
    scene.hear(scene.bundle())
    thief = scene.thief()
    thief.files |= {n: t for n, t in before.files.items() if n not in thief.files}

    forged = thief.lead_to(scene.online, targets=1)

    assert scene.refuses(forged.bundle()) == "AGENT-UPDATE-013"
    assert scene.trust.min_release == 2
