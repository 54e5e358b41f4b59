"""The work of each phase; every one may be done twice without harm.

Each returns what happened (an event of the machine), or that it must be called again.
A failure with a known cause is a value with a stable code, never an exception.
"""

import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from msgspec import UNSET

from edge_agent.errors import StoreError, UpdateError, WorkerError
from edge_agent.store.artifacts import NOT_PRUNED, ArtifactStore
from edge_agent.store.slots import Figures, Slots
from edge_agent.update.delta import DeltaWay
from edge_agent.update.download import (
    NO_SPACE,
    InterruptedDownloadError,
    Ways,
    fetch_artifact,
)
from edge_agent.update.fetch_meta import fetch_meta
from edge_agent.update.machine import Happened
from edge_agent.update.metadata import Trust
from edge_agent.update.outcomes import OK, Again, Outcome
from edge_agent.update.probation import Evidence, Verdict, decide
from edge_agent.update.selftest import Verdict as SelfTestVerdict
from edge_agent.update.selftest import spawn_self_test
from edge_agent.update.shadow import ShadowState
from edge_agent.update.shadow import decide as decide_shadow
from edge_agent.update.states import Event, Phase
from edge_agent.update.verify import check_files, check_targets, read_manifest
from edge_agent.wire.control import Assignment
from edge_agent.wire.manifest import FileRef, Release
from edge_agent.wire.profile import Source

NOT_LOADED = "AGENT-UPDATE-055"
SELF_TEST_PASSED = "update.self_test_passed"
WORKER_POLL_S = 0.2
NO_HTTP_S = 600.0
"""How long a device that got a file through the broker does not try HTTP again."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What the worker answers with, and why not otherwise.

    Release 0 with a digest is the factory model; without one, nothing.
    """

    release: int = 0
    sha256: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerFigures:
    """What the worker answers with now, how it did, and how the one before did."""

    now: Figures
    before: Figures | None


class Worker(Protocol):
    """What an activation needs of the inference worker."""

    def reload(self) -> Loaded:
        """Read the slot row again and load what it names.

        Returns:
            What answers from now on.

        Raises:
            WorkerError: It does not answer (retryable).
        """
        ...

    def figures(self) -> WorkerFigures:
        """Return the worker's figures.

        Raises:
            WorkerError: It does not answer (retryable).
        """
        ...

    def shadow(self) -> ShadowState:
        """Return how the release in shadow does (release 0: there is none).

        Raises:
            WorkerError: It does not answer (retryable).
        """
        ...


class SelfTest(Protocol):
    """Tries a release in a process that nobody depends on."""

    def __call__(
        self, state_dir: Path, release: int, *, interrupted: Callable[[], bool]
    ) -> SelfTestVerdict | None:
        """Return its verdict, or ``None``: it was interrupted."""
        ...


class Phases:
    """Carries out phases for one device."""

    def __init__(
        self,
        store: ArtifactStore,
        trust: Trust,
        worker: Worker,
        ways: Ways,
        self_test: SelfTest = spawn_self_test,
    ) -> None:
        """Wire it up; ``ways`` also tells long work to come to an end."""
        self._spawn_self_test = self_test
        self._ways = ways
        self._delta = DeltaWay(store, trust, ways)
        self._full_told = 0
        self._no_http_until = float("-inf")
        self.trust = trust
        self._store = store
        self._worker = worker
        self._classes: tuple[int, tuple[int, ...]] = (0, ())
        self._names = ((0, 0), True)
        self._beside = False

    def carry_out(self, state: Slots, now_wall: float, elapsed_s: float) -> Outcome:
        """Do the work of the present phase.

        Args:
            state: The journalled state.
            now_wall: Trusted wall time, for the expiry of metadata.
            elapsed_s: How long the phase has lasted.
        """
        phase = Phase(state.phase)
        if phase is not Phase.SHADOW:
            self._drop_shadow()
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
        verdict = self._spawn_self_test(
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
        return Happened(event=Event.OK, baseline=self._baseline(state))

    def _baseline(self, state: Slots) -> Figures | None:
        try:
            figures = self._worker.figures().now
        except WorkerError:
            return None
        return figures if figures.release == state.active else None

    def _shadow(self, state: Slots, elapsed_s: float) -> Outcome:
        policy = _assignment(state).shadow
        if policy is UNSET:
            return OK
        self._beside = True
        try:
            now = self._worker.shadow()
            if now.summary.release != state.candidate:
                self._worker.reload()
                return Again(after_s=WORKER_POLL_S, why="the worker runs no shadow yet")
        except WorkerError as error:
            return Again(after_s=WORKER_POLL_S, why=str(error))
        judgement = decide_shadow(now, policy, elapsed_s)
        if judgement.verdict is Verdict.WAIT:
            return Again(after_s=WORKER_POLL_S)
        passed = judgement.verdict is Verdict.PASS
        return Happened(
            event=Event.OK if passed else Event.FAIL,
            baseline=self._baseline(state) if passed else None,
            shadow=now.summary,
            code=judgement.code,
            detail=judgement.detail,
        )

    def _drop_shadow(self) -> None:
        """Have the worker follow the slot row, which names no shadow any more."""
        if self._beside:
            self._beside = False
            # A worker that does not answer is started anew, without a shadow.
            with contextlib.suppress(WorkerError):
                self._worker.reload()

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
        if not self._succeeds(state.previous, state.active):
            before = None
        evidence = Evidence(
            now=figures.now,
            before=before,
            reference=self._reference_classes(state.active),
            elapsed_s=elapsed_s,
        )
        judgement = decide(evidence, _assignment(state).probation)
        if judgement.verdict is Verdict.WAIT:
            return Again(after_s=WORKER_POLL_S)
        passed = judgement.verdict is Verdict.PASS
        return Happened(
            event=Event.OK if passed else Event.FAIL,
            code=judgement.code,
            detail=judgement.detail,
        )

    def _succeeds(self, previous: int, active: int) -> bool:
        """Tell whether a release is of the model of the one before.

        Another model takes its own time and tells other classes; it is held to its
        signed budget and to the absolute limits only.
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
