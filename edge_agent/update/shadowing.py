"""The work of SHADOW: a candidate and the active release answer the same samples.

First those that the device has kept (the paired test), in a process of their own; then,
where the assignment asks for it, live ones, in the worker. The result of the first is
kept in memory: after a restart it is made again, which does no harm.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from msgspec import UNSET
from msgspec.structs import replace

from edge_agent.errors import WorkerError
from edge_agent.evidence.judge import Pairing, Result, Source, summarize
from edge_agent.store.artifacts import ArtifactStore
from edge_agent.store.slots import Figures, Slots
from edge_agent.update.machine import Happened
from edge_agent.update.outcomes import Again, Outcome
from edge_agent.update.paired_trial import PairedOutcome, Releases
from edge_agent.update.probation import Judgement, Verdict
from edge_agent.update.shadow import ShadowRules, ShadowState, decide, judge_live
from edge_agent.update.states import Event
from edge_agent.update.trials import PairedTest
from edge_agent.update.worker_port import WORKER_POLL_S, Worker
from edge_agent.wire.control import Assignment, PairedPolicy, ShadowPolicy
from edge_agent.wire.records import PairedSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tested:
    """The outcome of the paired test of one attempt."""

    attempt: tuple[int, int, int]
    outcome: PairedOutcome


def paired_policy(assignment: Assignment | None) -> PairedPolicy:
    """Return an assignment's limits; those of the protocol where it has none."""
    policy = assignment.paired if assignment is not None else UNSET
    return PairedPolicy() if policy is UNSET else policy


class Shadowing:
    """Carries out SHADOW for one device."""

    def __init__(
        self,
        store: ArtifactStore,
        worker: Worker,
        test: PairedTest,
        interrupted: Callable[[], bool],
    ) -> None:
        """Wire it up; ``interrupted`` tells the test to come to an end."""
        self._store = store
        self._worker = worker
        self._test = test
        self._interrupted = interrupted
        self._tested: _Tested | None = None
        self._live_from: float | None = None
        self._beside = False

    def carry_out(
        self, state: Slots, assignment: Assignment, elapsed_s: float
    ) -> Outcome:
        """Do the work of the phase, which has lasted ``elapsed_s``."""
        tested = self._paired(state, assignment)
        if tested is None:
            return Again(after_s=WORKER_POLL_S, why="interrupted")
        verdict, summary = tested.verdict, tested.summary
        if verdict.result is Result.FAIL:
            return Happened(
                event=Event.FAIL,
                code=verdict.code,
                detail=f"paired test: {verdict.reason}",
                paired=summary,
            )
        if assignment.shadow is UNSET:
            return Happened(
                event=Event.OK,
                baseline=self.baseline(state),
                paired=summary,
                detail=f"paired test: {verdict.result}: {verdict.reason}",
            )
        if self._live_from is None:
            self._live_from = elapsed_s
        return self._live(state, assignment.shadow, elapsed_s - self._live_from)

    def drop(self) -> None:
        """Have the worker follow the slot row, which names no candidate any more."""
        self._tested = None
        if self._beside:
            self._beside = False
            # A worker that does not answer is started anew, without a shadow.
            with contextlib.suppress(WorkerError):
                self._worker.reload()

    def baseline(self, state: Slots) -> Figures | None:
        """Return how the active release has done until now, where that is known."""
        try:
            figures = self._worker.figures().now
        except WorkerError:
            return None
        return figures if figures.release == state.active else None

    def _paired(self, state: Slots, assignment: Assignment) -> PairedOutcome | None:
        attempt = (state.seq, state.active, state.candidate)
        if self._tested is None or self._tested.attempt != attempt:
            self._live_from = None
            outcome = self._test(
                Releases(
                    state_dir=self._store.state_dir,
                    incumbent=state.active,
                    candidate=state.candidate,
                ),
                paired_policy(assignment),
                interrupted=self._interrupted,
            )
            if outcome is None:
                return None
            self._tested = _Tested(attempt=attempt, outcome=outcome)
        return self._tested.outcome

    def _live(self, state: Slots, policy: ShadowPolicy, elapsed_s: float) -> Outcome:
        self._beside = True
        try:
            now = self._worker.shadow()
            if now.summary.release != state.candidate:
                self._worker.reload()
                return Again(after_s=WORKER_POLL_S, why="the worker runs no shadow yet")
        except WorkerError as error:
            return Again(after_s=WORKER_POLL_S, why=str(error))
        if self._tested is None:
            return Again(after_s=WORKER_POLL_S)
        ring = self._tested.outcome.summary
        rules = ShadowRules(
            shadow=policy,
            paired=paired_policy(state.assignment),
            published_drop=ring.published_drop,
            settled=ring.result == Result.OK,
        )
        judgement = decide(now, rules, elapsed_s)
        if judgement.verdict is Verdict.WAIT:
            return Again(after_s=WORKER_POLL_S)
        return self._end(state, judgement, now, rules)

    def _end(
        self, state: Slots, judgement: Judgement, now: ShadowState, rules: ShadowRules
    ) -> Outcome:
        ring = self._tested.outcome.summary if self._tested is not None else None
        passed = judgement.verdict is Verdict.PASS
        return Happened(
            event=Event.OK if passed else Event.FAIL,
            baseline=self.baseline(state) if passed else None,
            shadow=now.summary,
            paired=ring and join(ring, now, rules),
            code=judgement.code,
            detail=judgement.detail,
        )


def join(ring: PairedSummary, now: ShadowState, rules: ShadowRules) -> PairedSummary:
    """Return what kept and live samples say together.

    A failure on live samples counts whatever the kept ones said; where these said too
    little, live ones that say enough count in their place.
    """
    live = judge_live(now, rules)
    if live is None or now.figures is None:
        return ring
    if live.result is Result.FAIL or (
        live.result is Result.OK and ring.result != Result.OK
    ):
        pairing = Pairing(
            candidate=ring.release,
            incumbent=ring.incumbent,
            source=Source.LIVE,
            published_drop=ring.published_drop,
        )
        return summarize(now.figures, live, pairing)
    if ring.result == Result.OK:
        return ring
    return replace(ring, reason=f"{ring.reason}; live: {live.reason}"[:1024])
