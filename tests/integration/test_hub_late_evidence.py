"""What devices find out after a rollout has ended is an alert."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert, update

from edge_agent.wire.records import UpdateRecord
from edge_agent.wire.topics import Lane
from hub.alerts.evidence import LateEvidence
from hub.alerts.machine import Condition
from hub.monitor.late_evidence import LOOK_S, LateEvidenceWatch
from hub.storage.db import open_database, transaction
from hub.storage.streams import StreamKey
from hub.storage.tables import DEVICES
from tests.hub_records import plant

BOOT = "0" * 16


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """Give a database with three devices on release 2."""
    made = open_database(f"sqlite:///{tmp_path / 'hub.db'}")
    with transaction(made) as conn:
        for name in ("a", "b", "c"):
            conn.execute(
                insert(DEVICES).values(
                    id=name, first_seen_at=1.0, last_seen_at=1.0, release=2
                )
            )
    yield made
    made.dispose()


def say(engine: Engine, device: str, seq: int, evidence: str, code: str = "") -> None:
    """Store what a device says of release 2."""
    record = UpdateRecord(
        at=1.0,
        assignment_seq=5,
        rollout="r",
        release=2,
        phase="IDLE",
        outcome="committed",
        code=code,
        detail="paired test: fails on 9 of 256 samples",
        evidence=evidence,
    )
    key = StreamKey(device=device, boot=BOOT, lane=Lane.STATE)
    with transaction(engine) as conn:
        plant(conn, key, [(seq, record)], 1.0)


def test_late_failures_of_the_present_release_are_an_alert(engine: Engine) -> None:
    """It names the devices and what they found, and ends when none says so any more."""
    watch = LateEvidenceWatch(engine)
    say(engine, "a", 1, "inconclusive")
    say(engine, "b", 1, "conclusive")
    assert watch.observe(set(), 0.0) == []

    say(engine, "a", 2, "failed", "AGENT-UPDATE-110")
    (found,) = watch.observe(set(), LOOK_S)
    assert (found.rule, found.release, found.condition) == (
        "evidence",
        2,
        Condition.TRUE,
    )
    assert "a AGENT-UPDATE-110" in found.summary
    assert isinstance(found.evidence, LateEvidence)
    assert [one.device for one in found.evidence.devices] == ["a"]

    with transaction(engine) as conn:
        conn.execute(update(DEVICES).where(DEVICES.c.id == "a").values(release=1))
    (gone,) = watch.observe({("evidence", 2, "")}, 2 * LOOK_S)
    assert gone.condition is Condition.FALSE


def test_a_restarted_hub_still_knows(engine: Engine) -> None:
    """What is to be said is read from the records, not remembered."""
    say(engine, "c", 1, "failed", "AGENT-UPDATE-111")
    assert LateEvidenceWatch(engine).observe(set(), 0.0)[0].condition is Condition.TRUE
    say(engine, "c", 2, "conclusive")
    assert LateEvidenceWatch(engine).observe(set(), 0.0) == []
