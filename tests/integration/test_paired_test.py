"""The paired test as a process, with real models over a real ring."""

import functools
import os
import time
from pathlib import Path

import numpy as np
import pytest

from edge_agent.evidence import judge
from edge_agent.evidence.judge import Result
from edge_agent.runtime.litert import load_model
from edge_agent.runtime.telling import contract_of_model
from edge_agent.store.artifacts import ArtifactStore
from edge_agent.update import paired_trial
from edge_agent.update.paired_trial import Releases, try_paired
from edge_agent.wire.control import PairedPolicy
from tests.fakes.kind_release import KINDS, draw_samples
from tests.fakes.paired_bench import (
    DATA,
    TINY,
    Made,
    compare,
    constant,
    keep,
    keeping,
    kept_windows,
    make_failing,
    scrambled,
    swapped,
    twin,
    write_release,
)

PAIRED = DATA / "paired"
LOOPS, TRAPS = np.float32(120.0), np.float32(-200.0)
"""What ``spiteful.tflite`` loops on for ever, and what ends its process."""
TINY_RELEASE = Made(model=TINY.read_bytes())
PATIENT = PairedPolicy(latency_ratio_max=1000)


def model(name: str) -> Made:
    """Return a release of one of the models for paired tests."""
    return Made(model=(PAIRED / f"{name}.tflite").read_bytes())


def spiteful(
    value: np.float32,
) -> tuple[Made, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    """Return a release that does harm on the seventh window, and the windows."""
    windows = kept_windows(70)
    windows[7, 0, 0] = value
    return Made(model=(DATA / "spiteful.tflite").read_bytes()), windows


def test_an_equal_twin_is_ok_with_its_numbers(tmp_path: Path) -> None:
    """Another file of the same net passes on all samples, with what was measured."""
    outcome = compare(
        tmp_path, TINY_RELEASE, Made(model=twin()), keeping(kept_windows())
    )

    summary = outcome.summary
    assert (outcome.verdict.result, summary.n) == (Result.OK, 256)
    assert (summary.candidate_failures, summary.incumbent_failures) == (0, 0)
    assert (summary.source, summary.statistic) == ("ring", "theil_u")
    assert (summary.release, summary.incumbent) == (2, 1)


@pytest.mark.parametrize("make", [constant, scrambled], ids=["constant", "random"])
def test_garbage_is_stopped(tmp_path: Path, make: object) -> None:
    """What answers the same to everything, or anything, tells nothing of the truth."""
    assert callable(make)
    outcome = compare(
        tmp_path, TINY_RELEASE, Made(model=make()), keeping(kept_windows())
    )

    assert (outcome.verdict.result, outcome.verdict.code) == (
        Result.FAIL,
        judge.UNRELATED,
    )


def test_swapped_classes_pass_as_documented(tmp_path: Path) -> None:
    """Other names for the same classes are beyond this test: labels find them."""
    outcome = compare(
        tmp_path, TINY_RELEASE, Made(model=swapped()), keeping(kept_windows())
    )

    assert outcome.verdict.result is Result.OK


def test_nan_on_five_percent_is_stopped(tmp_path: Path) -> None:
    """A release that answers NaN to one window in twenty is found by these."""
    windows = make_failing(kept_windows(), every=20)
    outcome = compare(tmp_path, TINY_RELEASE, model("failing"), keeping(windows))

    assert (outcome.verdict.result, outcome.verdict.code) == (
        Result.FAIL,
        judge.FAILURES,
    )
    assert outcome.summary.candidate_failures == 13


def test_a_repair_of_failures_passes(tmp_path: Path) -> None:
    """What only the incumbent fails on is nothing against the candidate."""
    windows = make_failing(kept_windows(), every=20)
    outcome = compare(
        tmp_path, model("failing"), TINY_RELEASE, keeping(windows), PATIENT
    )

    assert outcome.verdict.result is Result.OK
    assert outcome.summary.incumbent_failures == 13


def test_three_times_the_work_is_too_slow(tmp_path: Path) -> None:
    """The same samples, asked alternately, show what is slower whatever else runs."""
    slow, windows = model("slow"), kept_windows(96)
    twice = compare(tmp_path / "a", slow, model("slow-thrice"), keeping(windows))
    equal = compare(tmp_path / "b", slow, model("slow-half-more"), keeping(windows))

    assert (twice.verdict.result, twice.verdict.code) == (Result.FAIL, judge.SLOWER)
    assert equal.verdict.result is Result.OK


@pytest.mark.parametrize(
    ("value", "code"), [(LOOPS, judge.HUNG), (TRAPS, judge.CRASHED)]
)
def test_a_candidate_that_ends_the_process_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: np.float32, code: str
) -> None:
    """It hangs or crashes on one sample: that costs its deadline and nothing else."""
    bad, windows = spiteful(value)
    started = time.monotonic()
    outcome = compare(tmp_path, TINY_RELEASE, bad, keeping(windows))

    assert (outcome.verdict.result, outcome.verdict.code) == (Result.FAIL, code)
    assert time.monotonic() - started < 4 * paired_trial.CALL_S + paired_trial.START_S


@pytest.mark.parametrize("value", [LOOPS, TRAPS])
def test_an_incumbent_that_ends_the_process_condemns_nobody(
    tmp_path: Path, value: np.float32
) -> None:
    """The present release hangs or crashes on a sample: nothing is known then."""
    bad, windows = spiteful(value)
    outcome = compare(tmp_path, bad, TINY_RELEASE, keeping(windows))

    assert outcome.verdict.result is Result.INCONCLUSIVE
    assert "incumbent" in outcome.verdict.reason


def test_a_candidate_that_does_not_load_fails(tmp_path: Path) -> None:
    """A model that the device cannot load is no candidate, and says so by its code."""
    store = ArtifactStore(tmp_path)
    contract = write_release(store, 1, TINY_RELEASE)
    write_release(store, 2, Made(model=twin()))
    broken = store.read_release(2).bundle.model
    store.path(broken.sha256).write_bytes(b"TFL3 or not")
    ring = keep(contract.inputs, [{"x": one} for one in kept_windows(70)])
    releases = Releases(state_dir=tmp_path, incumbent=1, candidate=2)
    outcome = try_paired(releases, PATIENT, ring=ring, interrupted=lambda: False)
    os.close(ring)

    assert outcome is not None
    assert (outcome.verdict.result, outcome.verdict.code) == (
        Result.FAIL,
        judge.UNUSABLE,
    )


def test_few_samples_are_inconclusive(tmp_path: Path) -> None:
    """Twelve samples show nothing, and the result says how many it would take."""
    outcome = compare(
        tmp_path, TINY_RELEASE, Made(model=twin()), keeping(kept_windows(12))
    )

    assert outcome.verdict.result is Result.INCONCLUSIVE
    assert outcome.summary.reason == "12 of 64 samples"


def test_no_ring_an_empty_one_and_no_ring_at_all_are_inconclusive(
    tmp_path: Path,
) -> None:
    """A device without samples has no opinion, in words for each cause."""
    said = []
    for name, ring in (
        ("none", lambda _: -1),
        ("empty", keeping(kept_windows(1)[:0])),
        ("small", lambda _: os.memfd_create("small")),
    ):
        outcome = compare(tmp_path / name, TINY_RELEASE, Made(model=twin()), ring)
        assert outcome.verdict.result is Result.INCONCLUSIVE
        said.append(outcome.summary.reason)

    assert said[0] == "this device keeps no samples"
    assert said[1] == "no samples kept yet"
    assert "AGENT-EVIDENCE-001" in said[2]


def test_another_input_is_inconclusive_and_says_what_would_fit(tmp_path: Path) -> None:
    """A candidate of another contract cannot be asked; samples set apart tell of it."""
    narrow = Made(model=(DATA / "narrow.tflite").read_bytes())
    misfits = [{"x": one[:, :3].copy()} for one in kept_windows(5)]
    windows = [{"x": one} for one in kept_windows(70)]
    kept = functools.partial(keep, samples=windows, misfits=misfits)
    outcome = compare(tmp_path, TINY_RELEASE, narrow, kept)

    assert outcome.verdict.result is Result.INCONCLUSIVE
    assert "of 5 samples kept" in outcome.summary.reason
    assert outcome.summary.reason.endswith("would take 5")


def test_another_model_is_not_compared(tmp_path: Path) -> None:
    """A release of another name may tell other things; nothing follows from that."""
    other = Made(model=twin(), name="pump")
    outcome = compare(tmp_path, TINY_RELEASE, other, keeping(kept_windows(70)))

    assert outcome.verdict.result is Result.INCONCLUSIVE
    assert outcome.summary.reason == "another model: pump, not watch"


def test_models_with_state_are_compared_on_stretches(tmp_path: Path) -> None:
    """Both start each stretch afresh, so the same net with a memory agrees fully."""
    moving = model("moving")
    again = Made(model=moving.model + b"\0")
    windows = keeping(kept_windows(96), stretch=16)
    outcome = compare(tmp_path / "a", moving, again, windows, PATIENT)
    still = compare(tmp_path / "b", moving, model("still"), windows, PATIENT)

    assert (outcome.verdict.result, outcome.summary.n) == (Result.OK, 96)
    assert outcome.summary.confidence_drop == 0.0
    assert still.summary.confidence_drop != 0.0


def test_a_published_drop_of_confidence_is_allowed(tmp_path: Path) -> None:
    """A release that is less sure and says so is not taken for a broken one."""
    faint = tmp_path / "faint"
    from tests.fakes.paired_bench import second_weights, with_weights

    less = with_weights(second_weights(), second_weights() * 0.45)
    windows = keeping(kept_windows())
    silent = compare(faint / "a", TINY_RELEASE, Made(model=less), windows)
    told = compare(faint / "b", TINY_RELEASE, Made(model=less, drop=0.3), windows)

    assert silent.verdict.code == judge.LESS_CONFIDENT
    assert told.verdict.result is Result.OK
    assert told.summary.published_drop == 0.3


def test_detectors_are_compared_by_what_they_find(tmp_path: Path) -> None:
    """The classes found in a sample, not their boxes, tell two detectors apart."""
    finder = Made(model=(PAIRED / "finder.tflite").read_bytes(), labels=())
    blind = Made(model=(PAIRED / "blind.tflite").read_bytes(), labels=())
    windows = keeping(kept_windows(200))
    same = compare(
        tmp_path / "a",
        finder,
        Made(model=finder.model + b"\0", labels=()),
        windows,
        PATIENT,
    )
    other = compare(tmp_path / "b", finder, blind, windows, PATIENT)

    assert (same.summary.statistic, same.verdict.result) == ("set_overlap", Result.OK)
    assert other.verdict.code == judge.UNRELATED


def test_regressions_of_several_inputs_are_compared_by_rank(tmp_path: Path) -> None:
    """A model of two inputs that answers with numbers is asked by its inputs' names."""
    pump = Made(model=(KINDS / "pump.tflite").read_bytes(), labels=(), name="pump")
    other = Made(
        model=(KINDS / "pump-int8.tflite").read_bytes(), labels=(), name="pump"
    )
    contract = contract_of_model(load_model(pump.model), ())
    samples = draw_samples(contract, 80)
    kept = functools.partial(keep, samples=samples)
    outcome = compare(tmp_path, pump, other, kept, PATIENT)

    assert outcome.summary.statistic in {"rank_correlation", "distance_correlation"}
    assert (outcome.verdict.result, outcome.summary.n) == (Result.OK, 80)


def test_the_test_ends_when_something_arrives(tmp_path: Path) -> None:
    """A newer assignment does not wait for it, and nothing is concluded."""
    store = ArtifactStore(tmp_path)
    contract = write_release(store, 1, TINY_RELEASE)
    write_release(store, 2, Made(model=twin()))
    ring = keep(contract.inputs, [{"x": one} for one in kept_windows(64)])
    releases = Releases(state_dir=tmp_path, incumbent=1, candidate=2)

    assert try_paired(releases, PATIENT, ring=ring, interrupted=lambda: True) is None
    os.close(ring)


def test_a_machine_too_slow_for_all_samples_is_inconclusive(tmp_path: Path) -> None:
    """Time that ran out is no fault of a candidate that was not slower."""
    slow = model("slow")
    brief = PairedPolicy(deadline_s=0.0)
    outcome = compare(tmp_path, slow, slow, keeping(kept_windows(70)), brief)

    assert outcome.verdict.result is Result.INCONCLUSIVE
    assert "no time for more of 70" in outcome.summary.reason


def test_answers_of_many_numbers_are_compared_within_the_memory_there_is(
    tmp_path: Path,
) -> None:
    """Of 65,536 numbers a few are kept, so the test itself never runs out of memory."""
    wide = Made(model=(PAIRED / "wide.tflite").read_bytes(), labels=())
    other = Made(model=wide.model + b"\0", labels=())
    outcome = compare(tmp_path, wide, other, keeping(kept_windows()), PATIENT)

    summary = outcome.summary
    assert (summary.statistic, summary.n) == ("distance_correlation", 256)
    assert (outcome.verdict.result, outcome.verdict.code) == (Result.OK, "")
