"""The paired judge: ok, fail or inconclusive, and which limit decided."""

import pytest

from edge_agent.evidence import judge
from edge_agent.evidence.judge import (
    PairedFigures,
    Result,
    Statistic,
    decide_paired,
)
from edge_agent.wire.control import PairedPolicy

POLICY = PairedPolicy()


def figures(**changes: object) -> PairedFigures:
    """Return the figures of a good candidate on a full ring, with changes."""
    good: dict[str, object] = {
        "n": 256,
        "statistic": Statistic.THEIL_U,
        "association": 0.7,
        "entropy": 1.5,
        "confidence_drop": 0.02,
        "latency_ratio": 1.1,
    }
    return PairedFigures(**{**good, **changes})  # type: ignore[arg-type]


def test_a_good_candidate_is_ok_with_its_numbers() -> None:
    """The reason of an ok tells on how many samples and by which figures."""
    verdict = decide_paired(figures(), POLICY)
    assert (verdict.result, verdict.code) == (Result.OK, "")
    assert verdict.reason == (
        "256 samples, theil_u 0.70, 0 failures against 0, confidence -0.02,"
        " latency x1.10"
    )


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"candidate_failures": 6}, judge.FAILURES),
        ({"candidate_failures": 9, "incumbent_failures": 3}, judge.FAILURES),
        ({"association": 0.09}, judge.UNRELATED),
        ({"confidence_drop": 0.16}, judge.LESS_CONFIDENT),
        ({"latency_ratio": 2.01}, judge.SLOWER),
        ({"n": 64, "candidate_failures": 2}, judge.FAILURES),
        ({"n": 8, "candidate_failures": 6}, judge.FAILURES),
        (
            {"statistic": Statistic.RANK_CORRELATION, "association": 0.2},
            judge.UNRELATED,
        ),
    ],
)
def test_each_limit_has_its_code(changes: dict[str, object], code: str) -> None:
    """What is just beyond a limit fails with that limit's code."""
    verdict = decide_paired(figures(**changes), POLICY)
    assert (verdict.result, verdict.code) == (Result.FAIL, code)


@pytest.mark.parametrize(
    "changes",
    [
        {"candidate_failures": 5},
        {"candidate_failures": 12, "incumbent_failures": 7},
        {"association": 0.10},
        {"confidence_drop": 0.15},
        {"latency_ratio": 2.0},
        {"n": 64, "candidate_failures": 1},
    ],
)
def test_what_is_at_a_limit_is_ok(changes: dict[str, object]) -> None:
    """A limit is the last value that is allowed."""
    assert decide_paired(figures(**changes), POLICY).result is Result.OK


def test_a_published_drop_of_confidence_is_allowed() -> None:
    """A release that publishes that it is less confident is not failed for that."""
    less = figures(confidence_drop=0.3)
    assert decide_paired(less, POLICY).result is Result.FAIL
    published = decide_paired(less, POLICY, published_drop=0.2)
    assert published.result is Result.OK


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n": 0}, "0 of 64 samples"),
        ({"n": 63}, "63 of 64 samples"),
        ({"entropy": 0.34, "association": 0.0}, "0.34 nats"),
        ({"association": None, "entropy": 0.0}, "all the same"),
        ({"statistic": Statistic.NONE, "association": None}, "all the same"),
    ],
)
def test_too_little_to_tell_is_inconclusive(
    changes: dict[str, object], words: str
) -> None:
    """Few samples, or an incumbent that says one thing only, prove nothing."""
    verdict = decide_paired(figures(**changes), POLICY)
    assert verdict.result is Result.INCONCLUSIVE
    assert words in verdict.reason


def test_a_soft_failure_is_one_that_a_bad_moment_may_cause() -> None:
    """Confidence and latency are soft; failures and unrelated answers are not."""
    assert {judge.LESS_CONFIDENT, judge.SLOWER} == judge.SOFT


WAVERING = {"association": 0.0, "entropy": 0.8, "expected_entropy": 1.9}


@pytest.mark.parametrize(
    "changes",
    [
        {"time_information": 0.49},
        {"time_information": 0.2, "n": 191, "entropy": 1.9},
        {"time_information": 0.2, "association": 0.7, "confidence_drop": 0.4},
    ],
)
def test_samples_of_one_kind_hold_no_answers_against_a_candidate(
    changes: dict[str, object],
) -> None:
    """Two good releases may each waver otherwise within one activity."""
    verdict = decide_paired(figures(**{**WAVERING, **changes}), POLICY)
    assert verdict.result is Result.INCONCLUSIVE
    assert "too few kinds" in verdict.reason


@pytest.mark.parametrize(
    "changes",
    [
        {"time_information": 0.5},
        {"time_information": 0.0, "entropy": 1.4},
        {"time_information": 0.0, "expected_entropy": 0.0},
    ],
)
def test_unrelated_answers_to_samples_of_several_kinds_fail(
    changes: dict[str, object],
) -> None:
    """Kinds that follow each other or that are mixed tell, and so does no profile."""
    verdict = decide_paired(figures(**{**WAVERING, **changes}), POLICY)
    assert (verdict.result, verdict.code) == (Result.FAIL, judge.UNRELATED)


def test_few_scenes_hold_no_finds_against_a_detector() -> None:
    """In one scene two good detectors may each find something else."""
    finds = {"statistic": Statistic.SET_OVERLAP, "association": 0.0, "entropy": None}
    few = decide_paired(figures(**{**finds, "n": 191}), POLICY)
    many = decide_paired(figures(**{**finds, "n": 192}), POLICY)
    assert (few.result, many.result) == (Result.INCONCLUSIVE, Result.FAIL)


def test_failures_and_slowness_count_on_samples_of_one_kind_too() -> None:
    """Whether a model answers, and how fast, does not depend on what it is shown."""
    few = {**WAVERING, "association": 0.7, "time_information": 0.0}
    failing = decide_paired(figures(**few, candidate_failures=6), POLICY)
    slow = decide_paired(figures(**{**few, "latency_ratio": 3.0}), POLICY)
    assert (failing.code, slow.code) == (judge.FAILURES, judge.SLOWER)


def test_samples_that_the_candidate_refuses_are_said() -> None:
    """A few change nothing but the reason; more than half leave too little to judge."""
    few = decide_paired(figures(n=244, refused=12), POLICY)
    assert few.result is Result.OK
    assert "refuses 12 of 256 samples that the incumbent takes" in few.reason
    most = decide_paired(figures(n=100, refused=156), POLICY)
    assert most.result is Result.INCONCLUSIVE
    assert "refuses 156 of 256 samples that the incumbent takes" in most.reason


def test_live_failures_are_held_to_their_share_from_256_pairs_on() -> None:
    """Live pairs are looked at several times, so the first looks allow the whole."""
    live = judge.Source.LIVE
    few = figures(n=64, candidate_failures=5)
    assert decide_paired(few, POLICY, source=live).result is Result.OK
    assert decide_paired(few, POLICY).result is Result.FAIL
    more = figures(n=64, candidate_failures=8)
    assert decide_paired(more, POLICY, source=live).result is Result.FAIL
    late = figures(n=512, candidate_failures=10)
    assert decide_paired(late, POLICY, source=live).result is Result.OK


def test_live_failures_must_exceed_what_chance_brings() -> None:
    """Of releases that both fail now and then one fails a little more often."""
    live = judge.Source.LIVE
    both = figures(candidate_failures=12, incumbent_failures=4)
    assert decide_paired(both, POLICY).result is Result.FAIL
    assert decide_paired(both, POLICY, source=live).result is Result.OK
    alone = figures(candidate_failures=12, incumbent_failures=0)
    assert decide_paired(alone, POLICY, source=live).result is Result.FAIL
