"""A retrain service over a real database, with a program in the trainer's place."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from sqlalchemy import Engine, insert

from edge_agent.base.clock import SystemClock
from edge_agent.wire import codec
from edge_agent.wire.manifest import (
    Bundle,
    FileRef,
    GateCheck,
    GateReport,
    InputContract,
    Provenance,
    Release,
    TensorContract,
)
from edge_agent.wire.records import SampleRecord
from edge_agent.wire.topics import Lane
from hub.alerts.evidence import DriftEvidence, DriftingChannel, DriftingDevice
from hub.alerts.machine import Alert, AlertState
from hub.config import Home, HubConfig, RetrainConfig
from hub.errors import ConflictError
from hub.retrain.runner import JobRunner
from hub.retrain.service import RetrainService
from hub.storage.alerts import AlertRow, insert_alert
from hub.storage.db import open_database, transaction
from hub.storage.jobs import JobRow
from hub.storage.releases import ReleaseRow, insert_release
from hub.storage.streams import StreamKey
from hub.storage.tables import ROLLOUTS
from tests.hub_records import plant

RETRAIN = RetrainConfig(min_samples=4, max_samples_per_device=2, seed=11)
CONFIG = HubConfig(retrain=RETRAIN)
FILE = FileRef(name="x", sha256="0" * 64, bytes=0)
WRITES_BUNDLE = """
import json, pathlib, sys
job = json.loads(pathlib.Path(sys.argv[1]).read_text())
out = pathlib.Path(job["out"])
out.mkdir()
(out / "bundle.json").write_text(pathlib.Path(sys.argv[2]).read_text())
sys.exit(int(sys.argv[3]))
"""


PASSES_WITH_OTHER_SEED = """
import json, pathlib, sys
job = json.loads(pathlib.Path(sys.argv[1]).read_text())
again = job["seed"] != 11
out = pathlib.Path(job["out"])
out.mkdir()
(out / "bundle.json").write_text(pathlib.Path(sys.argv[3 if again else 2]).read_text())
sys.exit(0 if again else 7)
"""


def make_bundle(*, ok: bool, task: str = "watch") -> Bundle:
    """Return a bundle's manifest, accepted or refused by the gate."""
    check = GateCheck(name="accuracy", ok=ok, observed=0.31, limit=0.5)
    return Bundle(
        name="m",
        task=task,
        variant="float",
        input=InputContract(tensor=TensorContract(name="x", shape=[2, 3])),
        outputs=[TensorContract(name="p", shape=[2])],
        labels=["a", "b"],
        model=FILE,
        reference=FILE,
        golden=FILE,
        calibration=FILE,
        card=FILE,
        gate=GateReport(ok=ok, checks=[check]),
        provenance=Provenance(created_at=1.0),
    )


@dataclass
class Rig:
    """A retrain service and what it asked of others."""

    engine: Engine
    home: Home
    service: RetrainService
    dies: list[bool]
    asked: list[list[str]] = field(default_factory=list)
    taken: list[Path] = field(default_factory=list)
    rolled_out: list[int] = field(default_factory=list)

    def use_command(self, take_in_fails: str, *command: str) -> None:
        """Put a program in the trainer's place."""

        def take_in(bundle: Path) -> int:
            if take_in_fails:
                raise ConflictError("HUB-RELEASE-009", take_in_fails)
            self.taken.append(bundle)
            return 2

        def make_command(folder: Path) -> Sequence[str]:
            return [*command[:3], str(folder / "job.json"), *command[3:]]

        self.service._runner = JobRunner(
            self.engine, SystemClock(), take_in, 60.0, make_command
        )

    def use_trainer(self, *, ok: bool = True, code: int = 0, fails: str = "") -> None:
        """Let the trainer's place write a bundle and end with a code."""
        made = self.home.path / "made.json"
        made.write_bytes(codec.encode_pretty(make_bundle(ok=ok)))
        self.use_command(
            fails, sys.executable, "-c", WRITES_BUNDLE, str(made), str(code)
        )

    def add_alert(self, *, change: float = -0.2, devices: Sequence[str]) -> int:
        """Store a firing drift alert."""
        evidence = DriftEvidence(
            cohort_devices=4,
            needed=2,
            devices=[
                DriftingDevice(device=d, statistic=9.0, channel="c", psi=2.0)
                for d in devices
            ],
            channels=[DriftingChannel(name="c", psi=2.0, devices=2)],
            windows=8,
            since_at=1.0,
            until_at=2.0,
            threshold=2.0,
            effect_min=0.2,
            placements=100,
            confidence_change=change,
        )
        row = AlertRow(
            id=0,
            fingerprint="f",
            rule="drift",
            release=1,
            cohort="ward-b",
            severity="warning",
            summary="drift in cohort ward-b",
            evidence=evidence,
            alert=Alert(state=AlertState.FIRING, pending_at=1.0, fired_at=2.0),
            updated_at=2.0,
        )
        with transaction(self.engine) as connection:
            return insert_alert(connection, row)

    def add_samples(self, device: str, count: int) -> None:
        """Store labelled samples of a device."""
        rows = [
            (
                seq,
                SampleRecord(
                    at=1.0,
                    sample_id=f"s{seq}",
                    release=1,
                    consent="study",
                    label="a",
                    predicted="b",
                    shape=[2, 3],
                    data=np.full((2, 3), seq, "<f4").tobytes(),
                ),
            )
            for seq in range(1, count + 1)
        ]
        key = StreamKey(device=device, boot="0" * 16, lane=Lane.SAMPLE)
        with transaction(self.engine) as connection:
            plant(connection, key, list(rows), SystemClock().wall())

    def tick_until_ended(self) -> JobRow:
        """Tick until the newest job has ended."""
        deadline = SystemClock().mono() + 60
        while (job := self.service.list_jobs()[-1]).finished_at is None:
            self.service.tick()
            running = self.service._runner._running
            if running is not None:
                running.supervision.wait(0.1)
            assert SystemClock().mono() < deadline
        return job


def add_releases(engine: Engine) -> None:
    """Store release 1, published, and release 2, which a job will make again."""
    manifest = Release(release=1, created_at=1.0, bundle=make_bundle(ok=True))
    with transaction(engine) as connection:
        for number, state in ((1, "published"), (2, "validated")):
            insert_release(
                connection,
                ReleaseRow(
                    release=number,
                    name="m",
                    state=state,
                    bundle_sha256=str(number) * 64,
                    model_sha256="0" * 64,
                    manifest=manifest,
                    thresholds="",
                    created_at=1.0,
                    published_at=1.0 if number == 1 else None,
                ),
            )


@contextlib.contextmanager
def open_rig(tmp_path: Path) -> Iterator[Rig]:
    """Return a service over a home folder with one published release."""
    home = Home(tmp_path)
    engine = open_database(f"sqlite:///{tmp_path / 'hub.db'}")
    add_releases(engine)
    asked: list[list[str]] = []
    rolled_out: list[int] = []
    dies: list[bool] = []

    def roll_out(release: int) -> str:
        if dies and dies.pop():
            raise SystemExit
        rolled_out.append(release)
        with transaction(engine) as connection:
            connection.execute(
                insert(ROLLOUTS).values(
                    id="rollout-1",
                    release=release,
                    state="DRAFT",
                    plan="{}",
                    created_at=1.0,
                    updated_at=1.0,
                    stage_started_at=1.0,
                )
            )
        return "rollout-1"

    service = RetrainService(
        engine,
        home,
        CONFIG,
        SystemClock(),
        collect=lambda devices, _most, _reason: asked.append(devices),
        take_in=lambda _bundle: 0,
        roll_out=roll_out,
    )
    made = Rig(
        engine=engine,
        home=home,
        service=service,
        dies=dies,
        asked=asked,
        rolled_out=rolled_out,
    )
    made.use_trainer()
    yield made
    service.close()
    engine.dispose()
