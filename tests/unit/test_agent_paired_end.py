"""What the end of the paired test's process says, and of whom."""

import signal

import msgspec
import pytest

from edge_agent.evidence import judge
from edge_agent.evidence.judge import PairedFigures, PairedVerdict, Result, Statistic
from edge_agent.update.paired_trial import PairedReport, judge_report, read_report
from edge_agent.update.sandbox import Ended
from edge_agent.wire.control import PairedPolicy

POLICY = PairedPolicy()


@pytest.mark.parametrize(
    ("status", "turns", "result", "code"),
    [
        (-signal.SIGSEGV, b"icic", Result.FAIL, judge.CRASHED),
        (-signal.SIGPROF, b"ic", Result.FAIL, judge.HUNG),
        (-signal.SIGALRM, b"ic", Result.FAIL, judge.HUNG),
        (-signal.SIGSEGV, b"ici", Result.INCONCLUSIVE, ""),
        (-signal.SIGPROF, b"i", Result.INCONCLUSIVE, ""),
        (-signal.SIGKILL, b"ic", Result.INCONCLUSIVE, ""),
        (-signal.SIGXCPU, b"ic", Result.INCONCLUSIVE, ""),
        (1, b"", Result.INCONCLUSIVE, ""),
        (0, b"ic", Result.INCONCLUSIVE, ""),
        (1, b"i-c", Result.INCONCLUSIVE, ""),
        (-signal.SIGSEGV, b"i-c-", Result.INCONCLUSIVE, ""),
        (-signal.SIGPROF, b"i-c-", Result.INCONCLUSIVE, ""),
        (-signal.SIGSEGV, b"i-c", Result.FAIL, judge.CRASHED),
    ],
)
def test_only_the_one_whose_turn_it_was_is_blamed(
    status: int, turns: bytes, result: Result, code: str
) -> None:
    """A candidate's crash is a failure; an incumbent's, or a kill, says nothing."""
    verdict = read_report(Ended(returncode=status, out=turns, err=b"boom"))

    assert isinstance(verdict, PairedVerdict)
    assert (verdict.result, verdict.code) == (result, code)
    assert verdict.reason


def test_a_process_that_is_late_blames_nobody() -> None:
    """All its time was used up: by the machine, as no call of a model was too long."""
    verdict = read_report(Ended(returncode=-9, out=b"ic", err=b"", late=True))

    assert isinstance(verdict, PairedVerdict)
    assert verdict.result is Result.INCONCLUSIVE


def test_a_report_is_read_after_the_turns() -> None:
    """What came before the line is no part of it."""
    told = PairedReport(figures=PairedFigures(n=3), kept=3)
    out = b"icic\n" + msgspec.json.encode(told) + b"\n"

    assert read_report(Ended(returncode=0, out=out, err=b"")) == told


@pytest.mark.parametrize(("n", "result"), [(7, Result.INCONCLUSIVE), (8, Result.FAIL)])
def test_a_candidate_that_leaves_no_time_for_more_is_too_slow(
    n: int, result: Result
) -> None:
    """Where time ran out because of the candidate, few samples say so."""
    figures = PairedFigures(
        n=n,
        statistic=Statistic.THEIL_U,
        association=0.9,
        entropy=1.0,
        latency_ratio=5.0,
    )
    report = PairedReport(figures=figures, kept=200, late=True)

    verdict = judge_report(report, POLICY, 0.0)
    assert verdict.result is result
    assert (verdict.code == judge.SLOWER) is (result is Result.FAIL)
