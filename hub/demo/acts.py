"""The acts of the demo, in order. Each returns one line for the summary, or raises.

An act does what people would do, then waits for the system to do its part. Nothing
here decides for the hub or the devices.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edge_agent.base.exit_codes import ExitCode
from edge_agent.wire.codec import encode_pretty
from edge_agent.wire.job import JOB_FILE, Job
from edge_agent.wire.types import Message
from hub.demo import figures as read
from hub.demo.fleet import MOVES, STAYS, start_agent, start_labels, write_config
from hub.demo.processes import Child
from hub.demo.stage import Stage, put_file, read_json
from hub.errors import HubError

FIRST, SECOND, BAD = 1, 2, 3
LOSS_MAX = 0.03
"""Accuracy that release 2 may surely lose on right arms."""
LABELS_EACH = 20
"""Labels of each exercise that a device's accuracy rests on, at least."""


class _Patch(Message, frozen=True, kw_only=True):
    bytes: int


class _Shipped(Message, frozen=True, kw_only=True):
    """What ``hub releases get --json`` tells of sizes."""

    model_bytes: int
    deltas: list[_Patch]


FIRST_JOB = {"arms": "right"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """A named part of the demo."""

    name: str
    title: str
    play: Callable[[Stage], str]


def require(truth: bool, text: str) -> None:  # noqa: FBT001 (an assertion)
    """Fail the act unless ``truth``."""
    if not truth:
        raise HubError("HUB-DEMO-004", text)


def gather(stage: Stage) -> str:
    """Start the agents: they come up with no model and wait for one."""
    port = stage.home.read_config().broker.port
    for wearer in stage.wearers:
        write_config(wearer, stage.home, port)
        start_agent(wearer, stage.processes)
    stage.wait(
        lambda: read.online_devices(stage.engine) == len(stage.wearers),
        "all agents to be online",
        timeout_s=60,
    )
    return f"{len(stage.wearers)} agents online, none with a model"


def train_first(stage: Stage) -> str:
    """Train release 1 on right arms: a job of the hub, run by a trainer process."""
    settings = [f"{key}={value}" for key, value in FIRST_JOB.items()]
    options = [part for text in settings for part in ("--setting", text)]
    stage.screen.say("the trainer trains teacher, student and twin on right arms")
    seed = ("--seed", str(stage.seed))
    stage.hub(
        *("train", "start", "--task", "watch", *seed, *options),
        *("--wait", "--no-rollout"),
    )
    release = _release(stage, FIRST)
    return f"release 1: {release['variant']}, gate accuracy {release['accuracy']:.2f}"


def first_release(stage: Stage) -> str:
    """Everybody wears the watch on the right arm and gets release 1."""
    for wearer in stage.wearers:
        put_file(wearer.recordings(stage.data, "right", "first"), wearer.sensor)
        start_labels(wearer, stage.data, stage.processes)
    stage.hub("rollouts", "start", str(FIRST), "--stages", "1.0")
    _wait_for_rollout(stage, FIRST, "COMPLETED", timeout_s=90)
    _everybody_on(stage, FIRST)
    return f"{len(stage.wearers)}/{len(stage.wearers)} devices on release 1"


def right_arm(stage: Stage) -> str:
    """Predictions are made, labels come late, and nothing is to be alerted."""
    config = stage.home.read_config().monitor
    rows = config.baseline_rows + 2 * config.recent_rows
    names = [wearer.device for wearer in stage.wearers]
    stage.wait(
        lambda: min(read.profile_rows(stage.engine, names, FIRST).values()) >= rows,
        "clean windows from every device",
        timeout_s=120,
    )
    _enough_labels(stage, FIRST, "right", len(stage.wearers))
    for cohort in (STAYS, MOVES):
        require(
            not read.fired_alerts(stage.engine, cohort),
            f"a drift alert in {cohort}, where nothing had changed",
        )
    share = read.accuracy(read.labelled(stage.engine, FIRST, "right"))
    return f"accuracy {share:.2f} on right arms, no drift alert"


def left_arm(stage: Stage) -> str:
    """Half the fleet moves to the left arm, and the hub must notice by itself."""
    for wearer in stage.wearers:
        if wearer.cohort == MOVES:
            put_file(wearer.recordings(stage.data, "left", "first"), wearer.sensor)
    stage.wait(
        lambda: bool(read.fired_alerts(stage.engine, MOVES)),
        f"a drift alert in {MOVES}",
        timeout_s=90,
    )
    alert = read.fired_alerts(stage.engine, MOVES)[0]
    stage.figures.drift_fired_at = alert["fired_at"]
    stage.figures.drift_summary = alert["summary"]
    _enough_labels(stage, FIRST, "left", len(stage.wearers) // 2)
    stage.wait(
        lambda: bool(read.fired_alerts(stage.engine, MOVES, rule="accuracy")),
        "late labels to say the same",
        timeout_s=60,
    )
    by_labels = read.fired_alerts(stage.engine, MOVES, rule="accuracy")[0]
    stage.figures.labels_fired_at = by_labels["fired_at"]
    earlier = by_labels["fired_at"] - alert["fired_at"]
    require(earlier > 0, f"labels told of the loss {-earlier:.1f} s before profiles")
    share = read.accuracy(read.labelled(stage.engine, FIRST, "left"))
    return (
        f"accuracy fell to {share:.2f} on left arms; "
        f"{earlier:.0f} s before labels told: {alert['summary']}"
    )


def retrain(stage: Stage) -> str:
    """The alert starts a retrain job; its bundle passes the gate and is signed.

    What the job learns from is fixed when it starts. From then on everybody sees the
    second halves of their recordings, so that both releases are measured on the same
    recordings, which neither has learnt from.
    """
    stage.wait(
        lambda: _job_state(stage) not in ("", "collecting", "queued"),
        "labelled samples from the devices that drifted",
        timeout_s=90,
        explain=lambda: _job_state(stage),
    )
    for wearer in stage.wearers:
        arm = "left" if wearer.cohort == MOVES else "right"
        put_file(wearer.recordings(stage.data, arm, "second"), wearer.sensor)
    stage.wait(
        lambda: _job_state(stage) in ("done", "failed"),
        "the trainer: a new student, and the gate",
        timeout_s=400,
    )
    job = next(j for j in read.jobs(stage.engine) if j["kind"] == "retrain")
    require(job["state"] == "done", f"the retrain job failed: {job['error']}")
    release = _release(stage, SECOND)
    stage.figures.release_2_at = float(str(release["published_at"]))
    stage.drill = _start_drill(stage)
    took = stage.figures.release_2_at - stage.figures.drift_fired_at
    return f"release 2 signed {took:.0f} s after the alert; the gate agreed"


def second_release(stage: Stage) -> str:
    """The hub rolls release 2 out by itself: canary of 2, half, everybody."""
    _wait_for_rollout(stage, SECOND, "COMPLETED", timeout_s=180)
    _everybody_on(stage, SECOND)
    line = f"2, then 4, then {len(stage.wearers)} devices on release 2"
    return f"{line}; {_note_delta(stage, SECOND)}"


def recovered(stage: Stage) -> str:
    """Labels tell what release 2 is worth on either arm, on the same recordings.

    Each release is measured on labels of every exercise, and each exercise weighs the
    same: which of them were done while a release ran is no merit of it.
    """
    half = len(stage.wearers) // 2
    for release in (FIRST, SECOND):
        for arm in read.ARMS:
            _enough_labels(stage, release, arm, half, half_name=read.SECOND_HALF)
    false_alerts = len(read.fired_alerts(stage.engine, STAYS))
    require(
        not (false_alerts and stage.scenario.halves_alike),
        f"a drift alert in {STAYS}, which never changed arms",
    )
    before = {a: _accuracy(stage, FIRST, a) for a in read.ARMS}
    after = {a: _accuracy(stage, SECOND, a) for a in read.ARMS}
    require(
        after["left"] >= before["left"] + 0.25,
        f"left arms only went from {before['left']:.2f} to {after['left']:.2f}",
    )
    lost = read.least_loss(
        *(_counts(stage, release, "right") for release in (FIRST, SECOND))
    )
    require(
        lost is None or lost <= LOSS_MAX,
        f"right arms fell from {before['right']:.2f} to {after['right']:.2f}, surely by"
        f" {100 * (lost or 0):.1f} points or more",
    )
    alerts = f"; {false_alerts} drift alert in {STAYS}, which is false"
    return (
        f"left arms {before['left']:.2f} → {after['left']:.2f}, "
        f"right arms {before['right']:.2f} → {after['right']:.2f}"
        f"{alerts if false_alerts else ''}"
    )


def bad_release(stage: Stage) -> str:
    """A release that predicts garbage is forced past the gate; the canary stops it.

    What stops it, a comparison before the activation or a watch after it, is the
    devices' affair: it must end, and be on nothing but the canary.
    """
    drill = stage.drill
    if drill is None:
        raise HubError("HUB-DEMO-005", "the drill's job was never started")
    stage.wait(
        lambda: drill.process.poll() is not None,
        "the drill's job: a model trained on shuffled labels",
        timeout_s=180,
    )
    code = drill.process.returncode
    require(
        code == ExitCode.REFUSED,
        f"the gate let the garbage pass (exit {code}):\n{drill.tail()}",
    )
    bundle = str(_drill_folder(stage) / "bundle")
    stage.hub("releases", "create", bundle, "--override-gate", "demo drill")
    stage.hub("rollouts", "start", str(BAD))
    _wait_for_rollout(stage, BAD, "ROLLED_BACK", timeout_s=120)
    _everybody_on(stage, SECOND)
    rollout = str(read.rollout_of(stage.engine, BAD))
    reason = read.rollout_state(stage.engine, rollout)[2]
    stage.figures.bad_reason = reason
    stage.figures.bad_codes = read.stopped_codes(stage.engine, rollout)
    ran = set(read.devices_that_ran(stage.engine, BAD))
    beyond = sorted(ran - set(read.canary_devices(stage.engine, rollout)))
    require(not beyond, f"release 3 was on devices beyond the canary: {beyond}")
    return f"the canary stopped release 3, all devices on release 2: {reason}"


ACTS = (
    Act(name="gather", title="A fleet without a model", play=gather),
    Act(name="train", title="Train on right arms", play=train_first),
    Act(name="release-1", title="Release 1 for everybody", play=first_release),
    Act(name="right-arm", title="Life on the right arm", play=right_arm),
    Act(name="left-arm", title="Half the fleet changes arms", play=left_arm),
    Act(name="retrain", title="The alert retrains the model", play=retrain),
    Act(name="release-2", title="Release 2 in three stages", play=second_release),
    Act(name="recovered", title="What release 2 is worth", play=recovered),
    Act(name="bad-release", title="A bad release is stopped", play=bad_release),
)


def _release(stage: Stage, number: int) -> dict[str, object]:
    found = read_json(stage.hub("releases", "get", str(number), "--json"))
    return found if isinstance(found, dict) else {}


def _note_delta(stage: Stage, number: int) -> str:
    """Note how devices got a release: by the patch that was signed, or whole."""
    release = msgspec.convert(_release(stage, number), _Shipped)
    patch = min((delta.bytes for delta in release.deltas), default=0)
    by = read.devices_by_delta(stage.engine, number)
    stage.figures.deltas[f"release_{number}"] = {
        "whole_bytes": release.model_bytes,
        "patch_bytes": patch,
        "devices": by,
    }
    if not patch:
        return "no patch was smaller"
    share = patch / release.model_bytes
    return f"{by} of them by a patch of {share:.0%} of the model"


def _counts(stage: Stage, release: int, arm: str) -> read.Labelled:
    return read.labelled(stage.engine, release, arm, read.SECOND_HALF)


def _accuracy(stage: Stage, release: int, arm: str) -> float:
    return read.accuracy(_counts(stage, release, arm)) or 0.0


def _measured(stage: Stage, counts: read.Labelled) -> int:
    """Return how many devices have enough labels of every exercise."""
    return sum(
        sum(n >= LABELS_EACH for _, n in recordings.values()) == stage.exercises
        for recordings in counts.values()
    )


def _job_state(stage: Stage) -> str:
    found = [job for job in read.jobs(stage.engine) if job["kind"] == "retrain"]
    return str(found[0]["state"]) if found else ""


def _enough_labels(
    stage: Stage, release: int, arm: str, devices: int, *, half_name: str = "%"
) -> None:
    def counts() -> read.Labelled:
        return read.labelled(stage.engine, release, arm, half_name)

    stage.wait(
        lambda: _measured(stage, counts()) >= devices,
        f"{LABELS_EACH} labels of each exercise, of each device on {arm} arms",
        timeout_s=90,
        explain=lambda: f"{_measured(stage, counts())} of {devices} devices have them",
    )


def _everybody_on(stage: Stage, release: int) -> None:
    want = len(stage.wearers)
    stage.wait(
        lambda: read.devices_on_release(stage.engine)[release] == want,
        f"all devices to report release {release}",
        timeout_s=60,
        explain=lambda: str(dict(read.devices_on_release(stage.engine))),
    )
    counts = read.devices_on_release(stage.engine)
    stage.figures.on_release[f"release_{release}"] = {
        str(number): n for number, n in sorted(counts.items())
    }


def _wait_for_rollout(
    stage: Stage, release: int, state: str, *, timeout_s: float
) -> None:
    ends = {"COMPLETED", "ROLLED_BACK", "SUPERSEDED"}

    def ended() -> bool:
        rollout = read.rollout_of(stage.engine, release)
        return rollout is not None and (
            read.rollout_state(stage.engine, rollout)[0] in ends
        )

    def explain() -> str:
        rollout = read.rollout_of(stage.engine, release)
        return str(rollout and read.rollout_state(stage.engine, rollout))

    stage.wait(
        ended,
        f"the rollout of release {release} to end",
        timeout_s=timeout_s,
        explain=explain,
    )
    rollout = str(read.rollout_of(stage.engine, release))
    found, _, reason = read.rollout_state(stage.engine, rollout)
    stage.figures.rollouts[f"release_{release}"] = found
    require(found == state, f"the rollout ended {found}, not {state}: {reason}")


def _drill_folder(stage: Stage) -> Path:
    return stage.folder / "drill"


def _start_drill(stage: Stage) -> Child:
    """Train the garbage while the good release rolls out."""
    folder = _drill_folder(stage)
    folder.mkdir(parents=True, exist_ok=True)
    job = Job(
        id="drill",
        task="watch",
        name="watch",
        out=str(folder / "bundle"),
        seed=stage.seed,
        settings={**FIRST_JOB, "shuffle_labels": "yes"},
    )
    (folder / JOB_FILE).write_bytes(encode_pretty(job))
    argv = [sys.executable, "-m", "trainer", "run", str(folder / JOB_FILE)]
    return stage.processes.start("drill", argv, watched=False)
