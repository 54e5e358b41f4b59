"""The paired test as the supervisor sees it: start it, wait for it, judge its figures.

The test itself is a process of its own (:mod:`edge_agent.paired_test`), because models
hang and crash. Before each call of a model it writes whose turn it is: a candidate that
ends the process, or does not come back within its deadline, has failed; an incumbent
that does so, a slow machine, or whoever kills the process from outside, leaves the test
inconclusive. Nothing here raises: to know nothing is an outcome too. Imports neither
NumPy nor an interpreter.
"""

import math
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edge_agent.errors import StoreError
from edge_agent.evidence import judge
from edge_agent.evidence.judge import (
    PairedFigures,
    PairedVerdict,
    Pairing,
    Result,
    Source,
    decide_paired,
    summarize,
)
from edge_agent.store.artifacts import ArtifactStore
from edge_agent.update.sandbox import Ended, describe_end, run_limited
from edge_agent.wire.control import PairedPolicy
from edge_agent.wire.records import PairedSummary

MODULE = "edge_agent.paired_test"
CANDIDATE, INCUMBENT = b"c", b"i"
"""What the test writes before it gives the turn to a release."""
NOBODY = b"-"
"""What it writes when a turn is over."""
CALL_S = 5.0
"""Processor time of one inference: longer never ends."""
START_S = 15.0
"""What starting a process and loading two models may take beyond the policy."""
FEW = 8
"""A candidate that is so slow that no more samples were tried is judged on these."""
OUTSIDE = frozenset(
    {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGXCPU}
)
"""Ends that no model brings about: somebody killed it, or all its time was used up."""
TIMERS = frozenset({signal.SIGALRM, signal.SIGPROF})


class PairedReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the process found.

    ``problem`` is why it could compare nothing, ``unusable`` why the candidate cannot
    be loaded. ``kept`` counts the samples that there were, ``late`` tells that time ran
    out before all of them were tried, ``took_s`` how long asking took.
    """

    figures: PairedFigures = PairedFigures()
    problem: str = ""
    unusable: str = ""
    kept: int = 0
    late: bool = False
    took_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Releases:
    """Which two releases of a state folder are compared."""

    state_dir: Path
    incumbent: int
    candidate: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedOutcome:
    """What was found of a candidate: the verdict, and the summary that is reported."""

    verdict: PairedVerdict
    summary: PairedSummary


def try_paired(
    releases: Releases,
    policy: PairedPolicy,
    *,
    ring: int,
    interrupted: Callable[[], bool],
) -> PairedOutcome | None:
    """Have two releases answer the device's own samples, and judge the candidate.

    Args:
        releases: Which.
        policy: The limits.
        ring: Descriptor of the ring of samples (-1: there is none).
        interrupted: Asked all along; true ends the test.

    Returns:
        The outcome; ``None``: it was interrupted and says nothing.
    """
    store = ArtifactStore(releases.state_dir)
    try:
        new = store.read_release(releases.candidate).bundle
        old = store.read_release(releases.incumbent).bundle
    except StoreError as error:
        return _outcome(releases, PairedReport(), _unknown(error.text))
    drop = new.published_confidence_drop
    if new.name != old.name:
        return _outcome(
            releases,
            PairedReport(),
            _unknown(f"another model: {new.name}, not {old.name}"),
        )
    if ring < 0:
        return _outcome(
            releases, PairedReport(), _unknown("this device keeps no samples")
        )
    names = [str(releases.incumbent), str(releases.candidate), str(ring)]
    ended = run_limited(
        [MODULE, str(releases.state_dir), *names, repr(policy.deadline_s)],
        policy.deadline_s + START_S,
        interrupted=interrupted,
        pass_fds=(ring,),
    )
    if ended is None:
        return None
    report = read_report(ended)
    if isinstance(report, PairedVerdict):
        return _outcome(releases, PairedReport(), report)
    return _outcome(releases, report, judge_report(report, policy, drop), drop)


def read_report(ended: Ended) -> PairedReport | PairedVerdict:
    """Return what the process told, or what its end says of the candidate."""
    turns, _, line = ended.out.partition(b"\n")
    if ended.returncode == 0 and not ended.late:
        try:
            return msgspec.json.decode(line, type=PairedReport)
        except msgspec.MsgspecError:
            return _unknown("the test said nothing that can be read")
    if ended.late:
        return _unknown("the test did not end in time")
    is_candidate = turns[-1:] == CANDIDATE
    who = "the candidate" if is_candidate else "the incumbent"
    how = describe_end(ended.returncode, ended.err)
    # An exit is none that a model brings about either: it ends by a signal.
    own = turns[-1:] not in {CANDIDATE, INCUMBENT} or ended.returncode >= 0
    if own or -ended.returncode in OUTSIDE:
        return _unknown(f"the test {how}")
    asked = f"after {len(turns.replace(NOBODY, b'')) - 1} calls"
    if -ended.returncode in TIMERS:
        code, text = judge.HUNG, f"{who} did not come back from a sample, {asked}"
    else:
        code, text = judge.CRASHED, f"the test {how}, while it asked {who}, {asked}"
    if is_candidate:
        return PairedVerdict(result=Result.FAIL, code=code, reason=text)
    return _unknown(text)


def judge_report(
    report: PairedReport, policy: PairedPolicy, drop: float
) -> PairedVerdict:
    """Judge what the process told."""
    if report.unusable:
        text = f"it cannot be loaded: {report.unusable}"
        return PairedVerdict(result=Result.FAIL, code=judge.UNUSABLE, reason=text)
    if report.problem:
        return _unknown(report.problem)
    verdict = decide_paired(report.figures, policy, published_drop=drop)
    if verdict.result is not Result.INCONCLUSIVE or not report.late:
        return verdict
    ratio, n = report.figures.latency_ratio, report.figures.n
    if n >= FEW and ratio is not None and ratio > policy.latency_ratio_max:
        return PairedVerdict(
            result=Result.FAIL,
            code=judge.SLOWER,
            reason=f"takes {ratio:.1f} times as long as the incumbent on the {n}"
            f" samples that there was time for, {policy.latency_ratio_max:g} allowed",
        )
    return _unknown(f"{verdict.reason}: there was no time for more of {report.kept}")


def _unknown(reason: str) -> PairedVerdict:
    return PairedVerdict(result=Result.INCONCLUSIVE, reason=reason)


def _outcome(
    releases: Releases,
    report: PairedReport,
    verdict: PairedVerdict,
    drop: float = 0.0,
) -> PairedOutcome:
    pairing = Pairing(
        candidate=releases.candidate,
        incumbent=releases.incumbent,
        source=Source.RING,
        published_drop=drop,
    )
    return PairedOutcome(
        verdict=verdict, summary=summarize(report.figures, verdict, pairing)
    )


def cpu_limit_s(deadline_s: float) -> int:
    """Return the processor time of a whole test, in seconds."""
    return math.ceil(deadline_s + START_S)
