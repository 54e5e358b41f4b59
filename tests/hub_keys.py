"""Keys, home folders and devices for tests of what the hub signs."""

import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata

from edge_agent.update.metadata import Trust
from hub.config import Home
from hub.releases.ceremony import Ceremony, NewKeys
from hub.releases.roles import (
    PRESENT_ROOT,
    ROOT_KEYS,
    Holders,
    first_root,
    first_targets,
    next_models,
    next_snapshot,
    next_timestamp,
)
from hub.releases.signer import Signer
from hub.releases.tuf_repo import TargetRef

START_AT = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
PASSPHRASE = b"six random words make one"
DAY_S = 86_400.0
FIRST = TargetRef(path="models/tiny/1/release.json", sha256="a" * 64, length=10)
SECOND = TargetRef(path="models/tiny/2/release.json", sha256="b" * 64, length=20)


@dataclass
class HandClock:
    """A clock that a test turns."""

    at: float = START_AT

    def wall(self) -> float:
        """Return the time."""
        return self.at

    def mono(self) -> float:
        """Return steady seconds."""
        return self.at

    def now(self) -> datetime:
        """Return the time as the metadata has it."""
        return datetime.fromtimestamp(self.at, UTC)


def new_holders(signer: Signer) -> Holders:
    """Make the keys of every role in the signer's first folder."""
    folder = signer.folders[0]
    return Holders(
        root=[signer.make(folder, "root", None) for _ in range(ROOT_KEYS)],
        targets=signer.make(folder, "targets", None),
        models=signer.make(folder, "models", None),
        online=signer.make(folder, "online", None),
    )


class KeyRig:
    """A hub's home after ``hub keys init``, its offline keys elsewhere, and devices."""

    def __init__(self, folder: Path, *, passphrase: bytes | None = PASSPHRASE) -> None:
        """Make all keys."""
        self.folder = folder
        self.clock = HandClock()
        self.home = Home(folder / "home")
        self.home.path.mkdir(parents=True)
        self.offline = folder / "offline"
        self.new = NewKeys(folder=self.offline, passphrase=passphrase)
        Ceremony(self.home, self.clock).create(self.new)
        self.anchor = self.home.root_file.read_bytes()

    def ceremony(self, passphrase: bytes = PASSPHRASE) -> Ceremony:
        """Return a ceremony in which the offline keys are there."""
        return Ceremony(
            self.home,
            self.clock,
            offline=[self.offline],
            passphrases=lambda _: [passphrase],
        )

    def alone(self) -> Ceremony:
        """Return what the hub can do by itself."""
        return Ceremony(self.home, self.clock, offline=[self.folder / "nothing"])

    def device(self, name: str = "device", anchor: bytes | None = None) -> Trust:
        """Return a device that was provisioned with the first root, or another."""
        return Trust(self.folder / name, anchor or self.anchor)

    def accepts(self, device: Trust, target: TargetRef = FIRST) -> bool:
        """Give a device the present metadata and tell whether it vouches for this."""
        device.refresh(self.alone().tuf.bundle(), self.clock.at)
        return device.find(target.path).sha256 == target.sha256


def make_old_home(folder: Path, clock: HandClock) -> Home:
    """Make a home as hubs without ceremonies did: one plain key a role, all here."""
    home = Home(folder)
    for path in (home.keys, home.tuf):
        path.mkdir(parents=True)
    signers = {}
    for role in ("root", "targets", "models", "online"):
        private = Ed25519PrivateKey.generate()
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (home.keys / f"{role}.pem").write_bytes(pem)
        signers[role] = CryptoSigner(private)
    public = {role: signer.public_key for role, signer in signers.items()}
    holders = Holders(
        root=[public["root"]],
        targets=public["targets"],
        models=public["models"],
        online=public["online"],
    )
    now = clock.now()
    root, targets = first_root(holders, now), first_targets(holders.models, now)
    models = next_models(1, now)
    snapshot = next_snapshot(1, now, targets, models)
    timestamp = next_timestamp(1, now, snapshot, root)
    timestamp.unrecognized_fields.clear()
    for name, signed, role in (
        ("1.root.json", root, "root"),
        ("1.targets.json", targets, "targets"),
        ("1.models.json", models, "models"),
        ("1.snapshot.json", snapshot, "online"),
        ("timestamp.json", timestamp, "online"),
    ):
        metadata: Metadata[Any] = Metadata(signed)
        metadata.sign(signers[role])
        (home.tuf / name).write_bytes(metadata.to_bytes())
    assert PRESENT_ROOT not in json.dumps(
        json.loads((home.tuf / "timestamp.json").read_text("utf-8"))
    )
    shutil.copyfile(home.tuf / "1.root.json", home.root_file)
    return home
