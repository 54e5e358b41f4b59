"""Drives lives of devices, and judges what a kill left behind."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from edge_agent.config import OutboxConfig
from edge_agent.errors import StoreError
from edge_agent.store.artifacts import ArtifactStore
from edge_agent.store.db import DB_FILE
from edge_agent.store.factory import FactoryModel
from edge_agent.store.outbox import Outbox
from edge_agent.store.slots import Slots, SlotStore
from edge_agent.update.factory import try_factory
from edge_agent.update.machine import MAX_ATTEMPTS, MAX_TRANSITIONS
from edge_agent.wire.batch import decode_record
from edge_agent.wire.codec import encode
from edge_agent.wire.control import PairedPolicy, ProbationPolicy, ShadowPolicy
from edge_agent.wire.records import UpdateRecord
from edge_agent.wire.topics import Lane
from tests.fakes.releases import MadeRelease, assign, make_release, write_bundle
from tests.fakes.tuf_repository import TufRepository
from tests.killpoints.device import DEVICE, Life, Order, Trouble

HERE = Path(__file__).parent
FIRST_BOOT, BOOT, NEXT_BOOT = "a" * 16, "b" * 16, "c" * 16
PROBATION = ProbationPolicy(
    min_predictions=20, min_s=0.0, deadline_s=60.0, latency_ratio_max=1000
)
SHADOW = ShadowPolicy(
    sample_ratio=1.0,
    min_samples=5,
    min_s=0.0,
    deadline_s=1e6,
    disagreement_max=0.9,
    latency_ratio_max=1000,
)
GOOD, BAD_GOLDEN, NEWER = 2, 3, 4


def build_killer(folder: Path) -> Path:
    """Compile the library that counts and kills; it needs a C compiler."""
    library = folder / "killer.so"
    words = ["cc", "-shared", "-fPIC", "-O2", "-Wall", "-o", str(library)]
    subprocess.run([*words, str(HERE / "killer.c"), "-ldl"], check=True)
    return library


class Lives:
    """The process that forks devices."""

    def __init__(self, library: Path) -> None:
        """Start it."""
        extra = {"LD_PRELOAD": str(library), "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.killpoints.server", str(library)],
            cwd=HERE.parents[1],
            env=os.environ | extra,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def close(self) -> None:
        """End it."""
        self._pipe(self._process.stdin).close()
        self._process.wait(20)
        self._pipe(self._process.stdout).close()

    def live(self, order: Order) -> Life:
        """Let a device live, and return how it ended."""
        into = self._pipe(self._process.stdin)
        into.write(msgspec.json.encode(order) + b"\n")
        into.flush()
        return msgspec.json.decode(
            self._pipe(self._process.stdout).readline(), type=Life
        )

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        assert pipe is not None
        return pipe


class Hub:
    """Releases and assignments for devices: 1 runs, the others are to be tried."""

    def __init__(self, folder: Path) -> None:
        """Make and sign them."""
        self.folder = folder
        self.repository = TufRepository()
        self.releases = {
            number: make_release(
                self.repository, number, golden_shift=0.5 * (number == BAD_GOLDEN)
            )
            for number in (1, GOOD, BAD_GOLDEN, NEWER)
        }
        self.artifacts = {
            sha256: data
            for made in self.releases.values()
            for sha256, data in made.artifacts.items()
        }

    def new_device(
        self, name: str, url: str, *, shadow: bool = True, factory: bool = False
    ) -> Path:
        """Make a device's folder, with what its hub would tell it."""
        home = self.folder / name
        (home / "state").mkdir(parents=True)
        (home / "root.json").write_bytes(self.repository.root_versions[0])
        (home / "bundle.json").write_bytes(encode(self.repository.bundle()))
        for made in self.releases.values():
            envelope = self._envelope(made, url, SHADOW if shadow else UNSET)
            (home / f"{made.number}.envelope").write_bytes(envelope)
        if factory:
            bundle = write_bundle(home / "factory", self.releases[1])
            passes = FactoryModel(bundle, home / "state", "")
            assert try_factory(passes, lambda: False) == ""
        return home

    def _envelope(
        self, made: MadeRelease, url: str, shadow: ShadowPolicy | UnsetType
    ) -> bytes:
        wanted = replace(
            assign(made, DEVICE, made.number, url),
            probation=PROBATION,
            paired=PairedPolicy(),
            shadow=shadow,
        )
        return encode(self.repository.assign(wanted))


def slots_of(home: Path) -> Slots:
    """Read the slot row; it must parse."""
    store = SlotStore(home / "state" / DB_FILE)
    try:
        return store.read()
    finally:
        store.close()


def ends_of(home: Path) -> list[tuple[int, str]]:
    """Return release and outcome of every end that the hub will hear of, in order."""
    outbox = Outbox(home / "state" / DB_FILE, NEXT_BOOT, OutboxConfig())
    records = [
        decode_record(body)
        for boot in (FIRST_BOOT, BOOT, NEXT_BOOT)
        for _, body in outbox.read(
            boot, Lane.STATE, 0, max_records=9999, max_bytes=1 << 30
        )
    ]
    outbox.close()
    return [
        (record.release, record.outcome)
        for record in records
        if isinstance(record, UpdateRecord) and record.outcome
    ]


def fault_after_kill(home: Path, *, may_run: Sequence[int]) -> str:
    """Return what is wrong with a device that was just killed, or nothing."""
    slots = slots_of(home)
    if slots.active not in may_run:
        return f"release {slots.active} is active"
    if slots.attempts > MAX_ATTEMPTS or slots.transitions > MAX_TRANSITIONS + 1:
        return f"{slots.attempts} attempts, {slots.transitions} transitions"
    if slots.active:
        try:
            ArtifactStore(home / "state").load_release(slots.active)
        except StoreError as error:
            return f"nothing can be loaded: {error}"
    return ""


def copy_of(home: Path, name: str) -> Path:
    """Return a copy of a device's folder."""
    copy = home.with_name(name)
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(home, copy)
    return copy


def order(
    home: Path,
    release: int,
    boot: str = BOOT,
    *,
    at: int = 0,
    trouble: Trouble | None = None,
) -> Order:
    """Return an order for one life."""
    return Order(
        home=str(home), release=release, boot=boot, at=at, trouble=trouble or Trouble()
    )
