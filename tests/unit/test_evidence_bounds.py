"""What the paired test reports can always be read, by the hub and the next start."""

import contextlib
import dataclasses
import math
import sqlite3
from pathlib import Path
from random import Random

import msgspec
import numpy as np
import pytest

from edge_agent.evidence.judge import (
    PairedFigures,
    PairedVerdict,
    Pairing,
    Result,
    Source,
    decide_paired,
    summarize,
)
from edge_agent.evidence.layout import plan, read_header, write_header
from edge_agent.evidence.statistics import (
    Answer,
    Pair,
    distance_correlation,
    measure,
)
from edge_agent.link.birth import CAPABILITIES
from edge_agent.store.slots import Slots, SlotStore
from edge_agent.wire.control import PairedPolicy
from edge_agent.wire.manifest import InputContract, TensorContract
from edge_agent.wire.records import PairedSummary

PAIRING = Pairing(candidate=2, incumbent=1, source=Source.RING)


def test_swapped_finds_of_a_detector_are_within_the_bounds() -> None:
    """A detector that always finds the other of two classes is associated by >= -1."""
    for seed in range(40):
        random = Random(seed)
        scenes = [random.random() < 0.5 for _ in range(128)]
        pairs = [
            Pair(
                number=place,
                incumbent=Answer(found=frozenset({int(scene)})),
                candidate=Answer(found=frozenset({int(not scene)})),
            )
            for place, scene in enumerate(scenes)
        ]
        association = measure(pairs).association
        assert association is None or association >= -1.0, f"seed {seed}"


@pytest.mark.parametrize("value", [-1e300, -1.04, 1.5, 1e300, math.nan, math.inf])
def test_a_summary_can_always_be_read(value: float) -> None:
    """Whatever the figures are, what is reported of them is what the wire takes."""
    figures = PairedFigures(
        n=64,
        association=value,
        entropy=value,
        confidence_drop=value,
        latency_ratio=value,
    )
    verdict = PairedVerdict(result=Result.INCONCLUSIVE, reason="x" * 5000)
    body = msgspec.json.encode(summarize(figures, verdict, PAIRING))
    assert msgspec.json.decode(body, type=PairedSummary).n == 64


@pytest.mark.parametrize("field", ["paired", "evidence", "answered", "baseline"])
def test_a_judgement_that_cannot_be_read_costs_only_itself(
    tmp_path: Path, field: str
) -> None:
    """The slot row and its copy are read although one judgement in them is bad."""
    path = tmp_path / "agent.db"
    store = SlotStore(path, boot="ab" * 8)
    store.write(Slots(active=2, previous=1, committed=(1,), phase="ACTIVATE"))
    body = msgspec.json.decode((tmp_path / "slots.json").read_bytes())
    body[field] = {"association": [-1.04]}
    raw = msgspec.json.encode(body)
    (tmp_path / "slots.json").write_bytes(raw)
    restored = store.restore()
    assert (restored.active, restored.previous) == (2, 1)
    with contextlib.closing(sqlite3.connect(path)) as beside, beside:
        beside.execute("UPDATE slots SET body = ?", (raw,))
    read = store.read()
    store.close()
    assert (read.active, read.previous, read.committed) == (2, 1, (1,))
    assert read.paired is None


def test_distances_need_no_room_for_all_differences() -> None:
    """The correlation of distances is that of the plain formula, far from 0 too."""
    random = np.random.default_rng(5)
    one = random.normal(size=(64, 40)) + 1e6
    turned = one @ np.linalg.qr(random.normal(size=(40, 40)))[0]
    found = distance_correlation(one, turned)
    assert found is not None
    assert found == pytest.approx(1.0, abs=1e-3)


def test_a_device_announces_that_it_makes_paired_tests() -> None:
    """The hub can tell an older agent from a record that has not come yet."""
    assert "paired-test" in CAPABILITIES


def test_few_samples_fail_a_release_by_an_absolute_excess_only() -> None:
    """Below the least number of samples five more failures are allowed, not one."""
    few = PairedFigures(n=12, candidate_failures=5)
    assert decide_paired(few, PairedPolicy()).result is Result.INCONCLUSIVE
    more = PairedFigures(n=12, candidate_failures=6)
    assert decide_paired(more, PairedPolicy()).result is Result.FAIL


def test_a_header_with_another_size_of_misfits_is_not_believed() -> None:
    """Readers find misfits by their size, so one that is not the plan's is a lie."""
    tensor = TensorContract(name="x", shape=[8], dtype="float32")
    made = plan([InputContract(tensor=tensor, low=-1.0, high=1.0)], 1 << 16)
    assert read_header(write_header(made), made.total) == made
    for size in (0, 8, made.misfit_bytes - 8):
        lie = dataclasses.replace(made, misfit_bytes=size)
        assert read_header(write_header(lie), made.total) is None
