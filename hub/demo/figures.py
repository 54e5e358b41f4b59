"""What the hub's database says, as the demo's acts and report need it. Read only."""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Engine, case, func, select

from hub.rollout.label_pairs import MIN_DEVICES, student_quantile
from hub.storage.tables import (
    ALERTS,
    DEVICES,
    FEEDBACK,
    JOBS,
    RECORDS,
    RECORDS_OF_STREAMS,
    ROLLOUT_DEVICES,
    ROLLOUTS,
    STREAMS,
)

Labelled = dict[str, dict[str, tuple[int, int]]]
"""(correct, labels) by device and recording."""
ARMS = ("right", "left")
_ACTIVE_PHASES = ("PROBATION", "COMMIT")
_STOPPED = ("HOLD", "ABORTING", "ROLLING_BACK", "ROLLED_BACK")
FIRST_HALF, SECOND_HALF = "first", "second"


def devices_on_release(engine: Engine) -> Counter[int]:
    """Return how many devices report each release as loaded."""
    with engine.connect() as db:
        rows = db.execute(select(DEVICES.c.release, func.count()).group_by("release"))
        return Counter({int(release): int(n) for release, n in rows})


def online_devices(engine: Engine) -> int:
    """Return how many devices are online."""
    with engine.connect() as db:
        query = select(func.count()).where(DEVICES.c.online.is_(True))
        return int(db.execute(query).scalar_one())


def labelled(engine: Engine, release: int, arm: str, half: str = "%") -> Labelled:
    """Return (correct, labels) by device and recording, of one release on one arm.

    The arm and half are part of each recording's name, and so of each sample's id.
    """
    sample = FEEDBACK.c.sample_id
    recording = func.substr(sample, 1, func.instr(sample, "@") - 1)
    query = (
        select(
            FEEDBACK.c.device,
            recording,
            func.sum(case((FEEDBACK.c.correct, 1), else_=0)),
            func.count(),
        )
        .where(FEEDBACK.c.release == release)
        .where(sample.like(f"%-{arm}-%-{half}@%"))
        .group_by(FEEDBACK.c.device, recording)
    )
    counts: Labelled = {}
    with engine.connect() as db:
        for device, name, right, n in db.execute(query):
            counts.setdefault(str(device), {})[str(name)] = (int(right), int(n))
    return counts


def device_accuracy(recordings: Mapping[str, tuple[int, int]]) -> float:
    """Return a device's mean accuracy over its recordings, each with labels.

    Releases are compared by it: how often each exercise happened to be done while one
    of them ran weighs nothing.
    """
    shares = [right / n for right, n in recordings.values()]
    return sum(shares) / len(shares)


def accuracy(counts: Labelled) -> float | None:
    """Return the mean accuracy over devices, or nothing without labels.

    The mean is over devices, not over labels: a device is the unit of evidence.
    """
    shares = [device_accuracy(recordings) for recordings in counts.values()]
    return sum(shares) / len(shares) if shares else None


def least_loss(before: Labelled, after: Labelled) -> float | None:
    """Return how much accuracy was lost at least: a one-sided 95 % bound over devices.

    Student's bound of the mean of what each device lost: four devices of four people
    differ by several points from one release to the next whatever it is worth.
    ``None`` where too few devices have labels of both.
    """
    losses = [
        device_accuracy(before[device]) - device_accuracy(after[device])
        for device in sorted(before.keys() & after.keys())
    ]
    if len(losses) < MIN_DEVICES:
        return None
    error = statistics.stdev(losses) / math.sqrt(len(losses))
    return statistics.fmean(losses) - student_quantile(len(losses) - 1) * error


def fired_alerts(
    engine: Engine, cohort: str, rule: str = "drift"
) -> Sequence[dict[str, Any]]:
    """Return the alerts of one rule on one cohort that fired at any time."""
    query = (
        select(ALERTS)
        .where(ALERTS.c.rule == rule, ALERTS.c.cohort == cohort)
        .where(ALERTS.c.fired_at.is_not(None))
        .order_by(ALERTS.c.id)
    )
    with engine.connect() as db:
        return [dict(row) for row in db.execute(query).mappings()]


def rollout_state(engine: Engine, rollout: str) -> tuple[str, int, str]:
    """Return a rollout's state, stage and reason."""
    query = select(ROLLOUTS.c.state, ROLLOUTS.c.stage, ROLLOUTS.c.reason)
    with engine.connect() as db:
        row = db.execute(query.where(ROLLOUTS.c.id == rollout)).one()
        return str(row.state), int(row.stage), str(row.reason)


def rollout_of(engine: Engine, release: int) -> str | None:
    """Return the id of the newest rollout of a release."""
    query = select(ROLLOUTS.c.id).where(ROLLOUTS.c.release == release)
    with engine.connect() as db:
        return db.execute(query.order_by(ROLLOUTS.c.created_at.desc())).scalar()


def stopped_codes(engine: Engine, rollout: str) -> dict[str, int]:
    """Return on how many devices a rollout failed, by the code that they gave."""
    query = select(ROLLOUT_DEVICES.c.code, func.count()).where(
        ROLLOUT_DEVICES.c.rollout == rollout, ROLLOUT_DEVICES.c.code != ""
    )
    with engine.connect() as db:
        rows = db.execute(query.group_by("code").order_by("code"))
        return {str(code): int(n) for code, n in rows}


def canary_devices(engine: Engine, rollout: str) -> list[str]:
    """Return the devices of a rollout's first stage."""
    query = select(ROLLOUT_DEVICES.c.device).where(
        ROLLOUT_DEVICES.c.rollout == rollout, ROLLOUT_DEVICES.c.stage == 0
    )
    with engine.connect() as db:
        return sorted(db.execute(query).scalars())


def devices_that_ran(engine: Engine, release: int) -> list[str]:
    """Return the devices on which a release was ever active, by all they reported.

    That is: an update record of its probation or commit, a profile or health record of
    it, or the release in the newest reported twin.
    """
    phase = func.json_extract(RECORDS.c.body, "$.phase")
    ran = (RECORDS.c.kind == "update") & phase.in_(_ACTIVE_PHASES)
    lived = RECORDS.c.kind.in_(("health", "profile"))
    queries = (
        select(STREAMS.c.device)
        .select_from(RECORDS_OF_STREAMS)
        .where(RECORDS.c.release == release, ran | lived)
        .distinct(),
        select(DEVICES.c.id).where(DEVICES.c.release == release),
    )
    with engine.connect() as db:
        return sorted(
            {str(d) for query in queries for d in db.execute(query).scalars()}
        )


def good_releases_stopped(engine: Engine, releases: Sequence[int]) -> list[int]:
    """Return which releases a rollout of theirs did not bring to everybody."""
    query = select(ROLLOUTS.c.release).where(
        ROLLOUTS.c.release.in_(releases), ROLLOUTS.c.state.in_(_STOPPED)
    )
    with engine.connect() as db:
        return sorted({int(number) for number in db.execute(query).scalars()})


def jobs(engine: Engine) -> Sequence[dict[str, Any]]:
    """Return all jobs, oldest first."""
    with engine.connect() as db:
        rows = db.execute(select(JOBS).order_by(JOBS.c.created_at))
        return [dict(row) for row in rows.mappings()]


def devices_by_delta(engine: Engine, release: int) -> int:
    """Return how many devices made a release's model from a patch, as they reported."""
    query = (
        select(func.count(STREAMS.c.device.distinct()))
        .select_from(RECORDS_OF_STREAMS)
        .where(RECORDS.c.kind == "update", RECORDS.c.release == release)
        .where(RECORDS.c.body.like("% by delta: %"))
    )
    with engine.connect() as db:
        return int(db.execute(query).scalar_one())


Position = tuple[str, str, str]
"""A stream: device, boot id, lane."""


def received(engine: Engine, upto: Mapping[Position, int]) -> int:
    """Return how many records of the streams arrived, up to given sequence numbers."""
    query = select(
        STREAMS.c.device, STREAMS.c.boot, STREAMS.c.lane, RECORDS.c.seq
    ).select_from(RECORDS_OF_STREAMS)
    with engine.connect() as db:
        return sum(
            seq <= upto.get((device, boot, lane), 0)
            for device, boot, lane, seq in db.execute(query)
        )


def duplicates(engine: Engine) -> int:
    """Return how many records tell again what another one of that device told.

    Compared is the content, not the sequence number: a device that gave one event two
    numbers, or two boots, would show here.
    """
    query = select(STREAMS.c.device, RECORDS.c.kind, RECORDS.c.body).select_from(
        RECORDS_OF_STREAMS
    )
    with engine.connect() as db:
        seen = Counter((d, k, body) for d, k, body in db.execute(query))
    return sum(seen.values()) - len(seen)


def redelivered(engine: Engine) -> int:
    """Return how many records arrived again and were ignored."""
    with engine.connect() as db:
        return int(db.execute(select(func.sum(STREAMS.c.redelivered))).scalar() or 0)


def profile_rows(
    engine: Engine, devices: Iterable[str], release: int
) -> dict[str, int]:
    """Return how many rows of profiles each device has delivered for a release."""
    counts = dict.fromkeys(devices, 0)
    query = (
        select(STREAMS.c.device, func.json_extract(RECORDS.c.body, "$.profile.rows"))
        .select_from(RECORDS_OF_STREAMS)
        .where(RECORDS.c.kind == "profile", RECORDS.c.release == release)
    )
    with engine.connect() as db:
        for device, rows in db.execute(query):
            counts[device] = counts.get(device, 0) + int(rows)
    return counts
