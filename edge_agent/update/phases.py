"""The work of each phase; every one may be done twice without harm.

Each returns what happened (an event of the machine), or that it must be called again.
A failure with a known cause is a value with a stable code, never an exception.
"""

import logging
import time

from edge_agent.errors import StoreError, UpdateError, WorkerError
from edge_agent.store.artifacts import NOT_PRUNED, ArtifactStore
from edge_agent.store.slots import Slots
from edge_agent.update.delta import DeltaWay
from edge_agent.update.download import (
    NO_SPACE,
    InterruptedDownloadError,
    Ways,
    fetch_artifact,
)
from edge_agent.update.fetch_meta import fetch_meta
from edge_agent.update.grounds import Grounds, weigh
from edge_agent.update.late_evidence import LateEvidence
from edge_agent.update.machine import Happened
from edge_agent.update.metadata import Trust
from edge_agent.update.outcomes import OK, Again, Outcome
from edge_agent.update.probation import Evidence, Judgement, Verdict, decide
from edge_agent.update.shadowing import Shadowing
from edge_agent.update.states import Event, Phase
from edge_agent.update.trials import Trials
from edge_agent.update.verify import (
    check_files,
    check_identity,
    check_targets,
    read_manifest,
)
from edge_agent.update.worker_port import WORKER_POLL_S, Worker
from edge_agent.wire.control import Assignment
from edge_agent.wire.manifest import FileRef, Release
from edge_agent.wire.profile import Source

NOT_LOADED = "AGENT-UPDATE-055"
SELF_TEST_PASSED = "update.self_test_passed"
REMARK = "probation.remark"
NO_HTTP_S = 600.0
"""How long a device that got a file through the broker does not try HTTP again."""

log = logging.getLogger(__name__)


class Phases:
    """Carries out phases for one device."""

    def __init__(
        self,
        store: ArtifactStore,
        trust: Trust,
        worker: Worker,
        ways: Ways,
        trials: Trials | None = None,
    ) -> None:
        """Wire it up; ``ways`` also tells long work to come to an end."""
        self._trials = trials = trials or Trials()
        self._ways = ways
        self._delta = DeltaWay(store, trust, ways)
        self._full_told = 0
        self._no_http_until = float("-inf")
        self.trust = trust
        self._store = store
        self._worker = worker
        self._classes: tuple[int, tuple[int, ...]] = (0, ())
        self._names = ((0, 0), True)
        test, interrupted = trials.paired, ways.interrupted
        self._shadowing = Shadowing(store, worker, test, interrupted)
        self.late = LateEvidence(store.state_dir, worker, test, interrupted)

    def check_identity(self, assignment: Assignment) -> None:
        """Check that an installed release of this number is the one assigned.

        Raises:
            UpdateError: It is another one (AGENT-UPDATE-035).
        """
        check_identity(assignment, self.trust, self._store)

    def carry_out(self, state: Slots, now_wall: float, elapsed_s: float) -> Outcome:
        """Do the work of the present phase.

        Args:
            state: The journalled state.
            now_wall: Trusted wall time, for the expiry of metadata.
            elapsed_s: How long the phase has lasted.
        """
        phase = Phase(state.phase)
        if phase is not Phase.SHADOW:
            self._shadowing.drop()
        try:
            if phase is Phase.FETCH_META:
                assignment = _assignment(state)
                return fetch_meta(
                    self.trust, self._ways, assignment, now_wall, elapsed_s
                )
            if phase in self._lasting:
                return self._lasting[phase](self, state, elapsed_s)
            return self._plain[phase](self, state)
        except InterruptedDownloadError:
            return Again(after_s=WORKER_POLL_S, why="interrupted")
        except (UpdateError, StoreError, WorkerError) as error:
            if error.retryable:
                return Again(why=str(error), error=error)
            return Happened(event=Event.FAIL, code=error.code, detail=error.text)

    def _download(self, state: Slots) -> Outcome:
        url, present = _assignment(state).artifacts_url, (state.active, state.previous)
        try:
            release = self._fetch_manifest(_assignment(state))
            # What earlier attempts left must not be what keeps this one off the disk.
            manifest = self.trust.find(_assignment(state).target).sha256
            patch = self._delta.in_use(release, present)
            self._prune((*present, state.candidate), (manifest, patch))
            note = self._delta.make_model(
                release, present, lambda file: self._fetch(url, file)
            )
            for file in release.bundle.device_files:
                self._fetch(url, file)
        except UpdateError as error:
            self._tell_full(state, error)
            raise
        return Happened(event=Event.OK, detail=note)

    def _tell_full(self, state: Slots, error: UpdateError) -> None:
        """Report a full disk once for each assignment; it is waited for."""
        if error.code == NO_SPACE and self._full_told != state.seq:
            self._full_told = state.seq
            self._ways.tell(error)

    def _fetch(self, url: str, file: FileRef) -> None:
        """Fetch a file; for a while not over HTTP when that has just failed."""
        now = time.monotonic()
        through_broker = fetch_artifact(
            "" if now < self._no_http_until else url,
            file,
            self._store,
            self._ways,
        )
        if through_broker and now >= self._no_http_until:
            self._no_http_until = now + NO_HTTP_S

    def _fetch_manifest(self, assignment: Assignment) -> Release:
        """Fetch ``release.json`` by its signed digest and keep its exact bytes."""
        signed = self.trust.find(assignment.target)
        self._fetch(assignment.artifacts_url, signed)
        data = self._store.read(signed)
        release = read_manifest(data, assignment)
        check_targets(release, self.trust)
        self._store.write_release(release.release, data)
        return release

    def _verify(self, state: Slots) -> Outcome:
        release = self._store.read_release(state.candidate)
        check_files(release, self._store)
        return OK

    def _self_test(self, state: Slots) -> Outcome:
        verdict = self._trials.self_test(
            self._store.state_dir, state.candidate, interrupted=self._ways.interrupted
        )
        if verdict is None:
            return Again(after_s=WORKER_POLL_S, why="interrupted")
        if not verdict.ok:
            return Happened(event=Event.FAIL, code=verdict.code, detail=verdict.detail)
        log.info(
            SELF_TEST_PASSED,
            extra={"release": state.candidate, "latency_us": verdict.latency_us},
        )
        return Happened(event=Event.OK, baseline=self._shadowing.baseline(state))

    def _shadow(self, state: Slots, elapsed_s: float) -> Outcome:
        return self._shadowing.carry_out(state, _assignment(state), elapsed_s)

    def _activate(self, state: Slots) -> Outcome:
        loaded = self._worker.reload()
        if loaded.release == state.active:
            return OK
        return Happened(
            event=Event.FAIL,
            code=NOT_LOADED,
            detail=f"the worker answers with release {loaded.release} instead: "
            f"{loaded.problem}",
        )

    def _watch(self, state: Slots, elapsed_s: float) -> Outcome:
        try:
            figures = self._worker.figures()
        except WorkerError as error:
            return Again(after_s=WORKER_POLL_S, why=str(error))
        if figures.now.release != state.active:
            return self._activate(state)
        before = figures.before
        if before is None or before.release != state.previous:
            before = state.baseline
        succeeds = self._succeeds(state.previous, state.active)
        evidence = Evidence(
            now=figures.now,
            before=before if succeeds else None,
            reference=self._reference_classes(state.active),
            elapsed_s=elapsed_s,
            has_incumbent=bool(state.previous) and succeeds,
        )
        judgement = decide(evidence, _assignment(state).probation)
        if judgement.verdict is Verdict.WAIT:
            return Again(after_s=WORKER_POLL_S)
        if judgement.verdict is Verdict.PASS:
            return self._stay(state, judgement, figures.now.predictions)
        return Happened(event=Event.FAIL, code=judgement.code, detail=judgement.detail)

    def _stay(self, state: Slots, judgement: Judgement, answered: int) -> Happened:
        """Say what the commit rests on, and what is remarkable about the release."""
        for remark in judgement.remarks:
            log.warning(REMARK, extra={"release": state.active, "remark": remark})
        grounds = Grounds(
            paired=state.paired,
            first=not state.previous,
            answered=answered,
            wanted=_assignment(state).probation.min_predictions,
        )
        evidence, detail = weigh(grounds)
        return Happened(
            event=Event.OK,
            evidence=evidence,
            answered=answered,
            detail="; ".join((detail, *judgement.remarks)),
        )

    def _succeeds(self, previous: int, active: int) -> bool:
        """Tell whether a release is of the model of the one before.

        Another model tells other classes; it is held to its signed budget and to
        failing on hardly anything.
        """
        if self._names[0] != (previous, active):
            try:
                names = {
                    self._store.read_release(number).bundle.name
                    for number in (previous, active)
                }
            except StoreError:
                return True
            self._names = ((previous, active), len(names) == 1)
        return self._names[1]

    def _reference_classes(self, release: int) -> tuple[int, ...]:
        if self._classes[0] != release:
            reference = self._store.load_release(release).reference
            found = [
                tuple(counts)
                for channel, counts in zip(
                    reference.channels, reference.data.counts, strict=True
                )
                if channel.source is Source.CLASS
            ]
            self._classes = (release, found[0] if found else ())
        return self._classes[1]

    def _commit(self, state: Slots) -> Outcome:
        self._prune((state.active, state.previous))
        return OK

    def _prune(self, keep: tuple[int, ...], also: tuple[str, ...] = ()) -> None:
        """Make room; a disk that does not let go of a file stops no activation."""
        try:
            self._store.prune(keep, also)
        except StoreError as error:
            log.warning(NOT_PRUNED, extra={"why": error.text})

    def _roll_back(self, state: Slots) -> Outcome:
        loaded = self._worker.reload()
        # Without a release before, only the factory model is left: it has a digest.
        if loaded.release == state.active and loaded.sha256:
            return OK
        what = f"release {state.active}" if state.active else "a factory model"
        return Happened(
            event=Event.FAIL,
            code=NOT_LOADED,
            detail=f"{what} cannot be loaded: {loaded.problem}",
        )

    def _rest(self, _state: Slots) -> Outcome:
        loaded = self._worker.reload()
        return OK if loaded.sha256 else Happened(event=Event.FAIL)

    _lasting = {Phase.SHADOW: _shadow, Phase.PROBATION: _watch}
    _plain = {
        Phase.DOWNLOAD: _download,
        Phase.VERIFY: _verify,
        Phase.SELF_TEST: _self_test,
        Phase.ACTIVATE: _activate,
        Phase.COMMIT: _commit,
        Phase.ROLLBACK: _roll_back,
        Phase.IDLE: _rest,
        Phase.SAFE_MODE: _rest,
    }


def _assignment(state: Slots) -> Assignment:
    if state.assignment is None:
        raise UpdateError("AGENT-UPDATE-033", "the journal names no assignment")
    return state.assignment
