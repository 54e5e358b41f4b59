"""Power cuts under the agent's store: images of the disk made from a recording."""

import os
import random
from pathlib import Path

import pytest

from edge_agent.store.db import DB_FILE
from edge_agent.store.flush import LogFlusher
from tests.powercut.__main__ import cut_seeds
from tests.powercut.disk import Disk, Entry, Op

CUTS = int(os.environ.get("SHOAL_POWER_CUTS", "300"))
FIRST_SEED = int(os.environ.get("SHOAL_POWER_CUT_SEED", "5"))
"""From 5 on both kinds of recording are among two: only where the log is hardly ever
moved into the database do metrics depend on the sync by the clock."""


def test_a_power_cut_loses_a_second_of_metrics_and_nothing_else(tmp_path: Path) -> None:
    """After each cut the store opens, holds what it must, and the hub gets it once."""
    counts = cut_seeds(tmp_path, FIRST_SEED, CUTS)

    failures = [text for found in counts.values() for text in found.failures]
    assert failures == [], "\n".join(failures[:20])
    assert sum(found.cuts for found in counts.values()) == CUTS
    assert sum(found.metrics_lost for found in counts.values()) > 0


@pytest.mark.parametrize("synced", [True, False])
def test_the_disk_keeps_what_was_synced_and_only_that(*, synced: bool) -> None:
    """A write survives every cut after its sync, and not every cut before it."""
    disk = Disk()
    disk.play(Entry(Op.CREATE, 7, 0, "/d/file", b""))
    for op in (Op.SYNC_BEGIN, Op.SYNC_END):
        disk.play(Entry(op, 1, 0, "", b""))
    disk.play(Entry(Op.WRITE, 7, 0, "", b"x" * 2000))
    if synced:
        for op in (Op.SYNC_BEGIN, Op.SYNC_END):
            disk.play(Entry(op, 7, 0, "", b""))

    images = [disk.cut(random.Random(seed))["file"] for seed in range(50)]

    assert all(image == b"x" * 2000 for image in images) is synced
    assert b"x" * 2000 in images


def test_a_flusher_without_a_log_has_nothing_to_do(tmp_path: Path) -> None:
    """Before the first write and after the last connection there is no log."""
    LogFlusher(tmp_path / DB_FILE).step()

    assert list(tmp_path.iterdir()) == []
