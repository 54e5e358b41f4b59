"""The runner: journals every step with its report, then does the work.

Invariants: the new state and its ``UpdateRecord`` are committed in one durable
transaction before anything of the new phase is done; work is idempotent, so after a
crash the journalled phase is simply carried out again; every phase but those at rest
has a deadline. One thread owns it, and calls :meth:`tick` as often as it says.
"""

import contextlib
import logging
import random
from collections.abc import Callable
from dataclasses import replace

from edge_agent.base.clock import Clock
from edge_agent.errors import UpdateError
from edge_agent.store.slots import Slots, SlotStore
from edge_agent.update.codes import OLD_ASSIGNMENT
from edge_agent.update.deadlines import deadline_of
from edge_agent.update.desk import Action
from edge_agent.update.hub_word import HubWord
from edge_agent.update.inbox import OldAssignmentError
from edge_agent.update.late_evidence import Found
from edge_agent.update.machine import TIMED_OUT, Effect, Happened, Report, Work, step
from edge_agent.update.metadata import EXPIRED
from edge_agent.update.obstacles import Obstacles, Where
from edge_agent.update.outcomes import Again, Fetched
from edge_agent.update.penalty import penalty_until
from edge_agent.update.phases import Phases
from edge_agent.update.states import AT_REST, Event, Phase
from edge_agent.update.telling import clock_event, log_report, record_of
from edge_agent.update.verify import open_assignment
from edge_agent.update.wishes import pin, revert
from edge_agent.wire.control import Assignment, TufBundle
from edge_agent.wire.envelope import Envelope

CLOCK_UNTRUSTED = "clock.untrusted"
UPDATE_WAITING = "update.waiting"
UPDATE_PENALTY = "update.penalty"
ASSIGNMENT_REFUSED = "update.assignment_refused"
METADATA_REFUSED = "update.metadata_refused"

IDLE_POLL_S = 1.0
RETRY_FIRST_S = 1.0
RETRY_MAX_S = 60.0

log = logging.getLogger(__name__)


class UpdateRunner:
    """Drives the activations of one device."""

    def __init__(
        self,
        device: str,
        slots: SlotStore,
        phases: Phases,
        clock: Clock,
        *,
        on_change: Callable[[Slots], None],
    ) -> None:
        """Read the journal; :meth:`recover` goes on from there."""
        self._device = device
        self._slots = slots
        self._trust = phases.trust
        self._phases = phases
        self._clock = clock
        self._on_change = on_change
        self._random = random.SystemRandom()
        self._state = slots.read()
        self._word = HubWord(slots, clock)
        self._clock_told = False
        self._wanted: Assignment | None = None
        self._unverified: Envelope | None = None
        self._expired: TufBundle | None = None
        self._pending: Phase | None = None
        self._entered = clock.mono()
        self._next_at = clock.mono()
        self._failures = 0
        self._why = ""
        self._penalty_told = 0
        self.obstacles = Obstacles(clock, lambda: on_change(self._state))

    @property
    def state(self) -> Slots:
        """The journalled state."""
        return self._state

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left to do, the work of a phase at rest included."""
        return self._pending is None

    def recover(self) -> None:
        """Go on where the journal ends; called once, before the first tick.

        Raises:
            StoreError: The journal cannot be written.
        """
        self._apply(Happened(event=Event.RESTART))
        self._follow_keys()
        with contextlib.suppress(UpdateError):
            # So far judged by a clock that may be wrong.
            self._trust.refresh(None, self.trusted_now())

    def on_desired(self, envelope: Envelope) -> None:
        """Take up an assignment, if it is authentic and new.

        Raises:
            StoreError: The journal cannot be written.
        """
        try:
            assignment = open_assignment(envelope, self._device, self._trust.verify)
        except UpdateError as error:
            # New keys may be in metadata that has not come yet.
            self._unverified = envelope
            self.obstacles.note(Where.ASSIGNMENT, error)
            log.warning(ASSIGNMENT_REFUSED, extra={"error": str(error)})
            return
        self._unverified = None
        self.obstacles.clear(Where.ASSIGNMENT)
        self._want(assignment)

    def on_folder(self, bundle: TufBundle, envelope: Envelope) -> Assignment:
        """Take up what a person brought; the same checks as on the wire.

        What this device has journalled already goes on whatever the metadata is: the
        person brings its artifacts.

        Returns:
            The assignment; the journal has it unless something must end first.

        Raises:
            UpdateError: Metadata or assignment is refused, or the device has seen a
                newer one (AGENT-UPDATE-092).
            StoreError: The journal cannot be written.
        """
        assignment = self._journalled(envelope)
        if assignment is None:
            self._refresh(bundle)
            verify = self._trust.verify
            assignment = open_assignment(envelope, self._device, verify)
        if assignment.seq < self._state.seq:
            raise OldAssignmentError(
                OLD_ASSIGNMENT,
                f"assignment {assignment.seq} is older than {self._state.seq}, which"
                " this device has seen",
                cure="have the hub write the folder anew",
            )
        self._next_at = self._clock.mono()
        self._want(assignment)
        self._on_change(self._state)
        return assignment

    def on_metadata(self, bundle: TufBundle) -> None:
        """Check new metadata, and look again at what waited for it.

        Raises:
            StoreError: The metadata or the journal cannot be written.
        """
        self._expired = None
        try:
            self._refresh(bundle)
        except UpdateError as error:
            # It may only seem so to a clock that is wrong: an assignment will tell.
            self._expired = bundle if error.code == EXPIRED else None
            self.obstacles.note(Where.METADATA, error)
            log.warning(METADATA_REFUSED, extra={"error": str(error)})
            return
        self.obstacles.clear(Where.METADATA)
        self._next_at = self._clock.mono()
        if self._unverified is not None:
            self.on_desired(self._unverified)
        self._on_change(self._state)

    def _refresh(self, bundle: TufBundle) -> None:
        """Trust new metadata, and learn from it what time it is.

        What seems to have expired is judged once more by the time that it tells. That
        is a time which has been, so nothing can be made to last longer by it.
        """
        try:
            self._trust.refresh(bundle, self.trusted_now())
        except UpdateError:
            if not self._learn(bundle):
                raise
            self._trust.refresh(bundle, self.trusted_now())
        self._learn(bundle)

    def _learn(self, bundle: TufBundle) -> bool:
        """Take the keys and the time that metadata tells; say whether that was news."""
        has_new_keys = self._follow_keys()
        return self._word.note(self._trust.signed_at(bundle)) or has_new_keys

    def _follow_keys(self) -> bool:
        state = self._word.follow(self._trust.online_keys, self._state)
        if state is not None:
            self._state, self._wanted = state, None
        return state is not None

    def on_crash_loop(self, release: int) -> None:
        """The worker died again and again soon after it loaded a release.

        Raises:
            StoreError: The journal cannot be written.
        """
        self._apply(Happened(event=Event.CRASH, release=release))

    def on_wish(self, action: Action) -> None:
        """Carry out what a person at the device wants.

        Raises:
            WishError: An update is under way (``AGENT-UPDATE-097``), or there is no
                release to go back to (``-098``); nothing changed.
            StoreError: The journal cannot be written.
        """
        if action is Action.ROLLBACK:
            self._apply(revert(self._state))
            return
        pinned, event = pin(self._state, action, self._clock.wall())
        self._slots.write(pinned, event)
        self._state = pinned
        self._on_change(pinned)

    def penalty_until(self) -> float:
        """Return until when nothing new is taken up (0: it is)."""
        return penalty_until(self._state, self.trusted_now())

    @property
    def clock_is_trusted(self) -> bool:
        """Whether the device's clock can be right."""
        return self._word.clock_is_trusted

    def trusted_now(self) -> float:
        """Return the time that expiry is judged at (:mod:`trusted_time`)."""
        return self._word.now()

    def tick(self) -> float:
        """Do what is due; return after how many seconds to call again.

        Raises:
            StoreError: The journal cannot be written; the state is as it was.
        """
        now = self._clock.mono()
        self.obstacles.look()
        self._tell_clock()
        if self._pending is None:
            return self._idle()
        if self._pending not in AT_REST and now - self._entered > deadline_of(
            self._state
        ):
            late = f"no end of {self._pending} within its deadline"
            detail = f"{late}: {self._why}" if self._why else late
            self._apply(Happened(event=Event.TIMEOUT, code=TIMED_OUT, detail=detail))
            return 0.0
        if now < self._next_at:
            return self._next_at - now
        outcome = self._phases.carry_out(
            self._state, self.trusted_now(), now - self._entered
        )
        if isinstance(outcome, Fetched):
            outcome = self._take_fetched(outcome)
        if isinstance(outcome, Again):
            self._wait(outcome)
            if self._pending in AT_REST:
                self._consider()
            return max(0.0, self._next_at - self._clock.mono())
        if self._pending in AT_REST:
            self._pending = None
        self._apply(outcome)
        return 0.0

    def _take_fetched(self, fetched: Fetched) -> Again:
        """Take metadata that came over HTTP as what the broker brings.

        Whether it is what was missing, the next try tells.
        """
        before = self._trust.versions
        self.on_metadata(fetched.bundle)
        if self._trust.versions != before:
            self._failures = 0
        return Again(why=str(fetched.why), error=fetched.why)

    def _idle(self) -> float:
        """Take up what was held back, when its time has come."""
        self._consider()
        if self._pending is not None:
            return 0.0
        found = self._phases.late.look(self._state, self._clock.mono())
        if found is not None:
            self._note(found)
        return IDLE_POLL_S

    def _note(self, found: Found) -> None:
        """Journal what later samples say of the release that is committed."""
        report = found.report
        records = [record_of(report, self._clock.wall(), "")] if report else []
        self._slots.write(found.state, records)
        self._state = found.state
        self._on_change(found.state)

    def _tell_clock(self) -> None:
        """Report, once until it is right again, that the clock cannot be right."""
        if self.clock_is_trusted:
            if self._clock_told:
                self._clock_told = False
                self._on_change(self._state)
        elif not self._clock_told:
            self._clock_told = True
            wall = self._clock.wall()
            log.warning(CLOCK_UNTRUSTED, extra={"clock": wall})
            event = clock_event(wall, self._word.ahead_s)
            self._slots.write(self._state, [event])
            self._on_change(self._state)

    def _want(self, assignment: Assignment) -> None:
        if self._wanted is None or assignment.seq > self._wanted.seq:
            self._wanted = assignment
            if self._word.note(assignment.issued_at) and self._expired is not None:
                self.on_metadata(self._expired)
        self._consider()

    def _journalled(self, envelope: Envelope) -> Assignment | None:
        """Return the assignment in an envelope if it is the one of the journal."""
        try:
            found = open_assignment(envelope, self._device, self._trust.verify)
        except UpdateError:
            return None
        return found if found.seq == self._state.seq else None

    def _consider(self) -> None:
        wanted = self._wanted
        if wanted is None or wanted.seq <= self._state.seq:
            return
        try:
            self._phases.check_identity(wanted)
        except UpdateError as error:
            self.obstacles.note(Where.ASSIGNMENT, error)
            return
        self._apply(Happened(event=Event.ASSIGN, assignment=wanted))
        if self.penalty_until() and wanted.seq > max(
            self._state.seq, self._penalty_told
        ):
            self._penalty_told = wanted.seq
            log.warning(UPDATE_PENALTY, extra={"until": self.penalty_until()})

    def _apply(self, happened: Happened) -> None:
        happened = replace(happened, at=self.trusted_now())
        state, effects = step(self._state, happened)
        if not effects:
            return
        reports = [e for e in effects if isinstance(e, Report)]
        if reports:
            state = replace(state, outcome=reports[-1].outcome)
        at = self._clock.wall()
        # What a success has to tell is told by the report of the next phase.
        note = happened.detail if happened.event is Event.OK else ""
        self._slots.write(state, [record_of(report, at, note) for report in reports])
        self._state = state
        self._start_work(effects)
        for report in reports:
            log_report(report)
        self._on_change(state)
        if Phase(state.phase) in AT_REST and self._pending is None:
            self._consider()

    def _start_work(self, effects: tuple[Effect, ...]) -> None:
        work = [e.phase for e in effects if isinstance(e, Work)]
        self._pending = work[-1] if work else None
        self._entered = self._next_at = self._clock.mono()
        self._failures = 0
        self._why = ""
        self.obstacles.clear(Where.PHASE)

    def _wait(self, outcome: Again) -> None:
        pause_s = outcome.after_s
        self._why = outcome.why
        if outcome.error is not None:
            self.obstacles.note(Where.PHASE, outcome.error)
        if not pause_s:
            if not self._failures:
                log.info(
                    UPDATE_WAITING,
                    extra={"phase": self._state.phase, "why": outcome.why},
                )
            limit = min(RETRY_FIRST_S * 2.0**self._failures, RETRY_MAX_S)
            pause_s = self._random.uniform(RETRY_FIRST_S / 4, limit)
            self._failures = min(self._failures + 1, 16)
        self._next_at = self._clock.mono() + pause_s
