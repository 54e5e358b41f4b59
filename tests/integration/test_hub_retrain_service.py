"""Retraining over a real database, with a small program in the trainer's place."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import update

from edge_agent.base.clock import SystemClock
from edge_agent.wire import codec
from edge_agent.wire.job import Job
from edge_agent.wire.manifest import (
    Release,
)
from hub.errors import NotFoundError
from hub.retrain.service import RetrainService
from hub.storage.db import transaction
from hub.storage.jobs import JobKind, JobState
from hub.storage.tables import RELEASES
from tests.fakes.retrain_rig import (
    CONFIG,
    PASSES_WITH_OTHER_SEED,
    RETRAIN,
    Rig,
    make_bundle,
    open_rig,
)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """Give a service over a home folder with one published release."""
    with open_rig(tmp_path) as made:
        yield made


def test_an_alert_becomes_a_release(rig: Rig) -> None:
    """Drift with loss collects samples, trains, takes in, and rolls out."""
    rig.add_alert(devices=["d1", "d2"])
    rig.service.tick()
    rig.service.tick()
    rig.add_samples("d1", 2)
    rig.add_samples("d2", 2)
    rig.add_samples("stranger", 9)
    job = rig.tick_until_ended()
    rig.service.tick()

    assert (job.state, job.kind, job.release, job.error) == (
        JobState.DONE,
        JobKind.RETRAIN,
        2,
        "",
    )
    assert rig.asked == [["d1", "d2"]]
    assert rig.rolled_out == [2]
    assert len(rig.service.list_jobs()) == 1
    order = codec.decode((Path(job.folder) / "job.json").read_bytes(), Job)
    assert order.seed == RETRAIN.seed
    assert order.incumbent is not None
    assert order.incumbent.bundle == str(rig.home.releases.resolve() / "1")
    with np.load(order.samples, allow_pickle=False) as samples:
        assert samples["x"].shape == (4, 2, 3)
        assert samples["x"].dtype == np.float32
        assert sorted(samples["group"].tolist()) == ["d1", "d1", "d2", "d2"]


def test_a_hub_that_dies_before_the_rollout_starts_it_afterwards(rig: Rig) -> None:
    """What waits to be rolled out is read from the database, and once only."""
    rig.dies.append(True)
    rig.add_alert(devices=["d1"])
    rig.service.tick()
    rig.add_samples("d1", 4)
    with pytest.raises(SystemExit):
        rig.tick_until_ended()
    assert rig.service.list_jobs()[-1].state is JobState.DONE
    assert rig.rolled_out == []

    rig.service.tick()
    rig.service.tick()

    assert rig.rolled_out == [2]


def test_a_restart_asks_no_device_twice(rig: Rig) -> None:
    """Only devices that begin to drift later are asked by later ticks."""
    rig.add_alert(devices=["d1"])
    for _ in range(3):
        rig.service.tick()
        rig.service = RetrainService(
            rig.engine,
            rig.home,
            CONFIG,
            SystemClock(),
            collect=lambda devices, _most, _reason: rig.asked.append(devices),
            take_in=lambda _bundle: 0,
            roll_out=lambda _release: "",
        )

    assert rig.asked == [["d1"]]


def test_a_model_made_elsewhere_is_not_replaced_by_one_made_here(rig: Rig) -> None:
    """What the configured task did not make, it does not retrain."""
    pump = make_bundle(ok=True, task="pump")
    foreign = codec.encode(Release(release=1, created_at=1.0, bundle=pump)).decode()
    with transaction(rig.engine) as connection:
        connection.execute(update(RELEASES).values(manifest=foreign))
    rig.add_alert(devices=["d1", "d2"])
    rig.service.tick()

    assert rig.service.list_jobs() == []


def test_drift_without_loss_trains_nothing(rig: Rig) -> None:
    """Moved inputs alone, with confidence as it was, begin no job."""
    rig.add_alert(change=-0.01, devices=["d1", "d2"])
    rig.service.tick()

    assert rig.service.list_jobs() == []


@pytest.mark.parametrize(
    ("ok", "code", "fails", "expected"),
    [
        (False, 7, "", "refused by the gate: accuracy 0.31 (limit 0.5)"),
        (True, 1, "", "the trainer ended with 1"),
        (True, 0, "this is release 1 already", "HUB-RELEASE-009"),
    ],
)
def test_a_job_that_makes_no_release_says_why(
    rig: Rig, *, ok: bool, code: int, fails: str, expected: str
) -> None:
    """A refusal by the gate, a crash and a refusal by the hub are told apart."""
    rig.use_trainer(ok=ok, code=code, fails=fails)
    rig.service.start_job(task="watch", name="m")
    job = rig.tick_until_ended()

    assert job.state is JobState.FAILED
    assert expected in job.error
    assert rig.taken == []


def test_a_retrained_model_that_the_gate_refuses_gets_one_other_seed(rig: Rig) -> None:
    """Two refusals end the job; both seeds' bundles and reasons are kept."""
    rig.use_trainer(ok=False, code=7)
    rig.add_alert(devices=["d1"])
    rig.service.tick()
    rig.add_samples("d1", 4)
    job = rig.tick_until_ended()

    assert job.state is JobState.FAILED
    assert "accuracy 0.31 (limit 0.5), with two seeds" in job.error
    folder = Path(job.folder)
    assert (folder / "bundle-refused" / "bundle.json").is_file()
    assert (folder / "bundle" / "bundle.json").is_file()
    order = codec.decode((folder / "job.json").read_bytes(), Job)
    assert order.seed == RETRAIN.seed + 1
    assert rig.taken == []


def test_the_other_seed_may_make_the_release(rig: Rig) -> None:
    """A job that passes the gate at its second seed is taken in and rolled out."""
    made = rig.home.path / "made.json"
    made.write_bytes(codec.encode_pretty(make_bundle(ok=False)))
    good = rig.home.path / "good.json"
    good.write_bytes(codec.encode_pretty(make_bundle(ok=True)))
    rig.use_command(
        "", sys.executable, "-c", PASSES_WITH_OTHER_SEED, str(made), str(good)
    )
    rig.add_alert(devices=["d1"])
    rig.service.tick()
    rig.add_samples("d1", 4)
    job = rig.tick_until_ended()
    rig.service.tick()

    assert (job.state, job.release, job.error) == (JobState.DONE, 2, "")
    assert rig.rolled_out == [2]


def test_an_operators_job_runs_in_the_foreground_and_is_not_rolled_out(
    rig: Rig,
) -> None:
    """`hub train start` waits for its job; rolling out is the operator's to decide."""
    job_id = rig.service.start_job(task="watch", name="m", settings={"epochs": "1"})
    job = rig.service.run_job(job_id)

    assert (job.state, job.release, job.exit_code) == (JobState.DONE, 2, 0)
    assert rig.rolled_out == []
    with pytest.raises(NotFoundError, match="HUB-RETRAIN-003"):
        rig.service.run_job("train-none")


def test_a_job_whose_process_is_gone_is_judged_by_its_bundle(rig: Rig) -> None:
    """After a restart of the hub, a complete bundle is taken in without exit code."""
    job_id = rig.service.start_job(task="watch", name="m")
    rig.service.tick()
    running = rig.service._runner._running
    assert running is not None
    running.supervision.wait(60.0)
    running.supervision.release()  # what the end of the process would do
    rig.use_trainer()
    job = rig.tick_until_ended()

    assert (job.id, job.state, job.exit_code) == (job_id, JobState.DONE, None)


def test_a_job_past_its_deadline_is_killed(rig: Rig) -> None:
    """No trainer runs longer than it may."""
    rig.use_command("", sys.executable, "-c", "import time; time.sleep(600)")
    rig.service._runner._timeout_s = 0.2
    rig.service.start_job(task="watch", name="m")
    job = rig.tick_until_ended()

    assert job.state is JobState.FAILED
    assert "killed after" in job.error


def test_stopping_the_hub_puts_the_job_back(rig: Rig) -> None:
    """A stop kills the trainer and queues its job, so the next start runs it."""
    rig.use_command("", sys.executable, "-c", "import time; time.sleep(600)")
    job_id = rig.service.start_job(task="watch", name="m")
    rig.service.tick()
    rig.service.close()

    assert rig.service.get_job(job_id).state is JobState.QUEUED
