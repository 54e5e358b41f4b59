"""Mutated model files on devices: the short form of ``scripts/torture --models``."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from edge_agent.update import selftest
from tests.fakes.model_base import Base, read_base
from tests.mutants.__main__ import BASES, DATA
from tests.mutants.agent import Counts
from tests.mutants.device import MutantDevice
from tests.mutants.mutate import KINDS, STRUCTURAL, unpack
from tests.mutants.plan import CRASHED, Finding, Mutant, draw
from tests.mutants.report import Outcome, as_document, table
from tests.mutants.run import Plan, choose, try_on_agent, try_on_devices
from tests.mutants.trial import Nursery

MUTANTS = int(os.environ.get("SHOAL_MUTANTS", "60"))
AGENTS = 4
LOOPS, TRAPS = np.float32(100.0), np.float32(-100.0)
"""Above the one `spiteful.tflite` loops, below the other it traps."""


@pytest.fixture(scope="module")
def bases() -> list[Base]:
    """The models that are mutated."""
    return [read_base(DATA / f"{name}.tflite") for name in BASES]


@pytest.mark.timeout(300)
def test_mutants_take_nothing_down(bases: list[Base], tmp_path: Path) -> None:
    """Unsigned ones are refused by digest, signed ones judged; something serves."""
    plan = Plan(seed=1, mutants=MUTANTS, agents=AGENTS)
    findings = try_on_devices(plan, bases, tmp_path)
    agent = try_on_agent(plan, bases[0], findings, tmp_path)

    outcome = Outcome(seed=1, run_s=0.0, findings=findings, agent=agent)
    assert outcome.problems == []
    assert set(outcome.promises.values()) == {0}
    assert len(findings) == MUTANTS
    assert sum(end.startswith("signed") for end in agent.outcomes.elements()) == AGENTS
    assert agent.outcomes["unsigned: failed AGENT-UPDATE-023"] > 0
    assert {f.fate for f in findings} >= {"refused", "wrong", "passed"}
    assert all(f.activated == (f.fate == "passed") for f in findings)


def test_a_worker_that_dies_is_counted_and_replaced(
    bases: list[Base], tmp_path: Path
) -> None:
    """A death is a broken promise of the run, and the next mutant finds a worker."""
    device = MutantDevice(tmp_path / "device", bases[0])
    try:
        assert device.process is not None
        os.kill(device.process.pid, signal.SIGKILL)
        device.process.wait()
        bad = device.take(draw(1, 0, bases))
        good = device.take(draw(1, 1, bases))
    finally:
        device.close()
    assert bad.worker_deaths == 1
    assert (good.worker_deaths, good.problems) == (0, [])
    found = Outcome(seed=1, run_s=0.0, findings=[bad, good], agent=Counts())
    assert not as_document([found])["ok"]
    assert "| all | 2 | 2 |" in table([found])


def fatal(kind: str) -> Mutant:
    """Return a mutant that kills whoever runs it: every sample makes it trap."""
    base = read_base(DATA / "spiteful.tflite")
    assert base.data.count(TRAPS.tobytes()) == 1
    data = base.data.replace(TRAPS.tobytes(), np.float32(1e9).tobytes())
    return Mutant(seed=0, number=0, kind=kind, base=base, data=data)


def test_a_self_test_that_crashes_is_a_verdict(
    bases: list[Base], tmp_path: Path
) -> None:
    """Only the process that tries it dies, and a death in a forked one counts twice."""
    device = MutantDevice(tmp_path / "device", bases[0])
    try:
        found = device.take(fatal("quantization"))
        blind = device.take(fatal("flip 1"))
    finally:
        device.close()
    assert (found.code, found.fate, found.forked) == (CRASHED, "crashed", "")
    assert (blind.code, blind.fate, blind.forked) == (CRASHED, "crashed", CRASHED)
    assert (found.problems, blind.problems) == ([], [])


def test_what_only_a_forked_self_test_dies_of_is_judged_as_on_a_device(
    bases: list[Base], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fresh process has the last word, and what it passes goes to the worker."""
    base = bases[0]
    device = MutantDevice(tmp_path / "device", base)
    died = selftest.Verdict(ok=False, code=CRASHED, detail="died of SIGSEGV")
    monkeypatch.setattr(Nursery, "judge", lambda *_: died)
    data = base.data.replace(b"MLIR Converted", b"mlir converted")
    mutant = Mutant(seed=0, number=0, kind="flip 1", base=base, data=data)
    try:
        found = device.take(mutant)
    finally:
        device.close()
    assert (found.forked, found.fate, found.activated) == (CRASHED, "passed", True)
    assert found.problems == []
    outcome = Outcome(seed=1, run_s=0.0, findings=[found], agent=Counts())
    assert as_document([outcome])["runs"][0]["only_forked_died"] == 1


def test_a_self_test_that_hangs_is_a_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An endless loop in native code is ended from outside, and the device serves."""
    monkeypatch.setattr(selftest, "WALL_S", 3.0)
    base = read_base(DATA / "spiteful.tflite")
    assert base.data.count(LOOPS.tobytes()) == 1
    data = base.data.replace(LOOPS.tobytes(), np.float32(-1e9).tobytes())
    endless = Mutant(seed=0, number=0, kind="buffer", base=base, data=data)
    device = MutantDevice(tmp_path / "device", base)
    try:
        found = device.take(endless)
    finally:
        device.close()
    assert (found.code, found.fate) == (selftest.HUNG, "hung")
    assert found.problems == []


def test_a_self_test_that_uses_up_its_processor_time_hangs() -> None:
    """The kernel ends it sooner than we do; that is a hang and no crash."""
    verdict = selftest._read_verdict(-signal.SIGXCPU, b"", b"")
    assert (verdict.ok, verdict.code) == (False, selftest.HUNG)


def test_a_seed_names_its_mutants(bases: list[Base]) -> None:
    """The same number gives the same bytes; every kind makes a file that differs."""
    for number in range(2 * len(KINDS)):
        first, again = (draw(3, number, bases) for _ in range(2))
        assert first.data == again.data
        assert first.data != first.base.data
        if first.kind in STRUCTURAL:
            assert unpack(first.data).subgraphs


def test_rare_fates_come_first_to_the_agent(bases: list[Base]) -> None:
    """A whole agent gets what crashed or passed before what merely did not load."""
    mutants = [draw(4, number, bases) for number in range(12)]
    codes = ["AGENT-UPDATE-044"] * 10 + [CRASHED, ""]
    findings = [
        Finding(mutant=mutant, code=code)
        for mutant, code in zip(mutants, codes, strict=True)
    ]
    assert choose(findings, 3) == [mutants[10], mutants[11], mutants[0]]
