"""What a commit rests on, settled later: by samples that come after it.

A release that was committed on too little evidence goes on being looked at while the
device is at rest, at first every half minute, then ever more seldom: has it answered
enough live predictions, and what do the release before and it say to the samples that
there are by now? A device that is too hot, or out of its quota, compares nothing for as
long. What is found is journalled with its report. A release that is found
worse is reported and stays: to take it back is the hub's to decide, which sees other
devices too. It ends when that is settled, or with the next assignment.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace as changed
from pathlib import Path

from edge_agent.errors import WorkerError
from edge_agent.evidence.judge import SOFT, Pairing, Result, Source, summarize
from edge_agent.store.slots import Slots
from edge_agent.update.grounds import FAILED, OPEN, Grounds, weigh
from edge_agent.update.machine import Report
from edge_agent.update.paired_trial import PairedOutcome, Releases
from edge_agent.update.shadow import ShadowRules, judge_live
from edge_agent.update.shadowing import paired_policy
from edge_agent.update.states import Phase
from edge_agent.update.trials import PairedTest
from edge_agent.update.worker_port import Worker
from edge_agent.wire.control import Assignment, ShadowPolicy
from edge_agent.wire.records import PairedSummary

EVIDENCE = "update.evidence"
FIRST_S = 30.0
MOST_S = 1800.0
SOON_S = 1.0
"""When a look that was interrupted is made up for."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The state with what was found, and its report (``None``: only numbers moved)."""

    state: Slots
    report: Report | None


class LateEvidence:
    """Looks again at the newest commit of one device."""

    def __init__(
        self,
        state_dir: Path,
        worker: Worker,
        test: PairedTest,
        interrupted: Callable[[], bool],
    ) -> None:
        """Wire it up; ``interrupted`` tells a test to come to an end."""
        self._state_dir = state_dir
        self._worker = worker
        self._test = test
        self._interrupted = interrupted
        self._of: tuple[int, int] = (0, 0)
        self._next_at = 0.0
        self._pause_s = FIRST_S
        self._doubt = ""
        self._counted: int | None = None
        self._sheds = False

    def look(self, state: Slots, now: float) -> Found | None:
        """Look again if it is time for that.

        Args:
            state: The journalled state; what is settled or under way is left alone.
            now: Steady seconds.

        Returns:
            What is to be journalled; ``None``: nothing is new.
        """
        assignment = state.assignment
        if not _is_open(state) or assignment is None:
            return None
        if self._of != (state.seq, state.active):
            self._of, self._pause_s = (state.seq, state.active), FIRST_S
            self._next_at = now + FIRST_S
            self._doubt, self._counted = "", self._answered_now(state)
        if now < self._next_at:
            return None
        self._next_at = now + self._pause_s
        answered = self._answered(state)
        paired: PairedSummary | None = state.paired
        code = ""
        if self._sheds:
            # A paired test is two inferences a sample: the last thing to begin now.
            return _settle(state, changed(state, answered=answered), state.code)
        if paired is not None and paired.result != Result.OK:
            again = self._compare(state, assignment)
            if again is None:
                self._next_at = now + SOON_S
                return None
            code = again.verdict.code
            if code in SOFT and code != self._doubt:
                # A bad moment may bring it about: the next look must find it too.
                self._doubt, code = code, ""
            else:
                paired, self._doubt = again.summary, ""
        self._pause_s = min(2 * self._pause_s, MOST_S)
        return _settle(state, changed(state, answered=answered, paired=paired), code)

    def _answered(self, state: Slots) -> int:
        """Return the live predictions of the release, over restarts of the worker.

        What the worker had counted when this was asked first is taken to be in the
        journal already: too few are counted rather than too many.
        """
        now, before = self._answered_now(state), self._counted
        if now is None:
            return state.answered
        self._counted = now
        if before is None:
            return max(state.answered, now)
        # A worker that was started anew has forgotten what it answered before.
        more = now - before if now >= before else now
        return max(state.answered + more, now)

    def _answered_now(self, state: Slots) -> int | None:
        try:
            figures = self._worker.figures()
        except WorkerError:
            return None
        self._sheds, now = figures.sheds, figures.now
        return now.predictions if now.release == state.active else None

    def _compare(self, state: Slots, assignment: Assignment) -> PairedOutcome | None:
        releases = Releases(
            state_dir=self._state_dir,
            incumbent=state.previous,
            candidate=state.active,
        )
        policy = paired_policy(assignment)
        outcome = self._test(releases, policy, interrupted=self._interrupted)
        if outcome is None or outcome.verdict.result is not Result.INCONCLUSIVE:
            return outcome
        drop = outcome.summary.published_drop
        return self._live(state, assignment, drop) or outcome

    def _live(
        self, state: Slots, assignment: Assignment, drop: float
    ) -> PairedOutcome | None:
        """Return what live pairs say, where they say enough."""
        try:
            beside = self._worker.shadow()
        except WorkerError:
            return None
        if not state.previous or beside.summary.release != state.previous:
            return None
        rules = ShadowRules(
            shadow=ShadowPolicy(),
            paired=paired_policy(assignment),
            published_drop=drop,
        )
        verdict = judge_live(beside, rules)
        if verdict is None or beside.figures is None:
            return None
        if verdict.result is Result.INCONCLUSIVE:
            return None
        pairing = Pairing(
            candidate=state.active,
            incumbent=state.previous,
            source=Source.LIVE,
            published_drop=drop,
        )
        summary = summarize(beside.figures, verdict, pairing)
        return PairedOutcome(verdict=verdict, summary=summary)


def _is_open(state: Slots) -> bool:
    assignment = state.assignment
    return (
        state.phase == Phase.IDLE
        and state.outcome == "committed"
        and state.evidence in OPEN
        and assignment is not None
        and assignment.release == state.active
    )


def _settle(before: Slots, state: Slots, code: str) -> Found | None:
    paired, assignment = state.paired, state.assignment
    if assignment is None:
        return None
    evidence, detail = weigh(
        Grounds(
            paired=paired,
            first=not state.previous,
            answered=state.answered,
            wanted=assignment.probation.min_predictions,
        )
    )
    if paired is not None and paired.result == Result.FAIL:
        evidence, detail = FAILED, f"paired test: {paired.reason}"
    state = changed(state, evidence=evidence, code=code, detail=detail[:1000])
    if evidence == before.evidence:
        return Found(state=state, report=None) if state != before else None
    log.info(
        EVIDENCE,
        extra={"release": state.active, "evidence": evidence, "detail": detail},
    )
    report = Report(
        seq=state.seq,
        rollout=assignment.rollout,
        release=state.active,
        phase=Phase.IDLE,
        outcome="committed",
        code=code,
        detail=state.detail,
        paired=paired if paired != before.paired else None,
        evidence=evidence,
    )
    return Found(state=state, report=report)
