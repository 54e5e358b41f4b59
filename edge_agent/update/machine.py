"""The pure step of an activation: ``step(state, happened) -> (state, effects)``.

Invariants: the newest assignment wins and its number is never forgotten; the swap of
slots is part of the one step into ``ACTIVATE``, its reversal of the one step into
``ROLLBACK``; ``committed`` is reported by the step that leaves ``COMMIT`` and by
nothing before; a release that failed here is quarantined unless it was once committed
here; every load of a candidate counts as an attempt, every step as a transition, and
both have a limit, so no crash loop lasts. While the device is pinned, assignments of
other releases wait; what a person at the device sends back is not wanted any more, even
if it was committed, but no failure of the device. A shadow needs an active release to
be compared with, and what was once committed here, so a rollback, goes without. What a
commit rests on is decided with the end of the probation, and stays in the state.
"""

from dataclasses import dataclass, replace

from msgspec import UNSET

from edge_agent.evidence.judge import Result, Source
from edge_agent.store.slots import Figures, Slots
from edge_agent.update.penalty import add_failure, penalty_until
from edge_agent.update.states import AT_REST, TRANSITIONS, Event, Phase
from edge_agent.wire.control import Assignment
from edge_agent.wire.records import PairedSummary, ShadowSummary

MAX_ATTEMPTS = 2
MAX_TESTS = 4
"""So often a paired test is begun; where the agent is restarted each time, nothing is
known of the candidate, which is no fault of it."""
MAX_TRANSITIONS = 28
MAX_REMEMBERED = 64

QUARANTINED = "AGENT-UPDATE-060"
LOOPED = "AGENT-UPDATE-061"
CRASHED = "AGENT-UPDATE-062"
TIMED_OUT = "AGENT-UPDATE-063"
CRASHED_IN_SHADOW = "AGENT-UPDATE-064"

_LOADS = frozenset({Phase.SHADOW, Phase.ACTIVATE, Phase.PROBATION})
"""Phases in which the worker runs the candidate (SHADOW: where that is asked for)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """An event with its facts.

    ``at`` is the trusted wall time. ``assignment`` comes with ``ASSIGN``, ``baseline``
    with the ``OK`` of a self-test or shadow (how the active release did until now),
    ``shadow`` and ``paired`` with the end of a shadow, ``evidence`` and ``answered``
    (live predictions) with the ``OK`` of a probation, ``code`` and ``detail`` with what
    is not OK. ``release`` is the one that a ``CRASH`` is blamed on (0: the one being
    tried).
    """

    event: Event
    at: float = 0.0
    assignment: Assignment | None = None
    baseline: Figures | None = None
    shadow: ShadowSummary | None = None
    paired: PairedSummary | None = None
    evidence: str = ""
    answered: int = 0
    release: int = 0
    code: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Carry out a phase; doing it twice does no harm."""

    phase: Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Tell the hub about a transition; ``outcome`` is set at the end."""

    seq: int
    rollout: str
    release: int
    phase: Phase
    outcome: str = ""
    code: str = ""
    detail: str = ""
    shadow: ShadowSummary | None = None
    paired: PairedSummary | None = None
    evidence: str = ""


Effect = Work | Report


def step(state: Slots, happened: Happened) -> tuple[Slots, tuple[Effect, ...]]:
    """Return the state after an event, and what is to be done then.

    No effects and the same state mean that the event changes nothing.
    """
    if happened.event is Event.ASSIGN:
        return _assign(state, happened)
    happened = _without_test(state, _limited(state, happened))
    event = Event.TRY if _is_to_try(state, happened) else happened.event
    phase = TRANSITIONS.get((Phase(state.phase), event))
    if phase is None or _is_blamed_wrongly(state, happened):
        return state, ()
    state = replace(state, transitions=state.transitions + 1)
    enter = _ENTRIES.get(phase)
    return _enter(state, phase) if enter is None else enter(state, happened)


def _is_to_try(state: Slots, happened: Happened) -> bool:
    """Tell whether a passed self-test is followed by a comparison with the incumbent.

    A hub that asks for a shadow only is older than the paired test; the device makes it
    all the same.
    """
    assignment = state.assignment
    return (
        happened.event is Event.OK
        and state.phase == Phase.SELF_TEST
        and state.active != 0
        and state.candidate not in state.committed
        and assignment is not None
        and (assignment.paired is not UNSET or assignment.shadow is not UNSET)
    )


def _is_blamed_wrongly(state: Slots, happened: Happened) -> bool:
    """Tell whether a crash is of a release that is not tried any more."""
    tried = state.candidate if state.phase == Phase.SHADOW else state.active
    return happened.event is Event.CRASH and happened.release not in {0, tried}


def _assign(state: Slots, happened: Happened) -> tuple[Slots, tuple[Effect, ...]]:
    new = happened.assignment
    phase = TRANSITIONS.get((Phase(state.phase), Event.ASSIGN))
    if new is None or phase is None or new.seq <= state.seq:
        return state, ()
    if state.pinned and new.release != state.active:
        return state, ()
    known = new.release == state.active or new.release in state.committed
    forced = new.forced is True
    if not known and not forced and penalty_until(state, happened.at):
        return state, ()
    kept = new.release == state.active and state.outcome == "committed"
    taken = replace(
        state,
        seq=new.seq,
        assignment=new,
        candidate=new.release,
        attempts=0,
        transitions=1,
        baseline=None,
        code="",
        detail=state.detail if kept else "",
    )
    if forced:
        taken = _pardon(taken, new.release)
    if new.release == state.active:
        rest = replace(taken, phase=Phase.IDLE, candidate=0)
        return _rest(rest, state, new.release, outcome="committed")
    if new.release in taken.quarantined and new.release not in taken.committed:
        rest = replace(
            taken,
            phase=Phase.IDLE,
            candidate=0,
            code=QUARANTINED,
            detail=f"release {new.release} failed on this device before",
        )
        return _rest(rest, state, new.release, outcome="rejected")
    return _enter(taken, phase)


def _limited(state: Slots, happened: Happened) -> Happened:
    """Turn an event into a failure where a limit is reached."""
    phase = Phase(state.phase)
    looping = state.transitions >= MAX_TRANSITIONS and phase not in AT_REST
    if happened.event is Event.RESTART and _is_loaded(state):
        looping = looping or state.attempts >= MAX_ATTEMPTS
    if not looping or happened.event not in {Event.RESTART, Event.OK}:
        return happened
    if phase in {Phase.COMMIT, Phase.ROLLBACK}:
        return happened
    text = f"gave up after {state.transitions} steps and {state.attempts} loads"
    return Happened(event=Event.FAIL, at=happened.at, code=LOOPED, detail=text)


def _is_loaded(state: Slots) -> bool:
    """Tell whether the worker runs the candidate in the present phase."""
    return Phase(state.phase) in _LOADS and not _is_tested_only(state)


def _is_tested_only(state: Slots) -> bool:
    """Tell whether the candidate answers kept samples only, in its own process."""
    assignment = state.assignment
    return (
        state.phase == Phase.SHADOW
        and assignment is not None
        and assignment.shadow is UNSET
    )


def _without_test(state: Slots, happened: Happened) -> Happened:
    """Go on without a paired test that restarts have kept from its end each time."""
    is_last = _is_tested_only(state) and state.attempts >= MAX_TESTS
    if happened.event is not Event.RESTART or not is_last:
        return happened
    summary = PairedSummary(
        release=state.candidate,
        incumbent=state.active,
        result=Result.INCONCLUSIVE,
        source=Source.RING,
        reason=f"the agent was restarted during each of {state.attempts} tests",
    )
    return Happened(event=Event.OK, at=happened.at, paired=summary)


def _enter(
    state: Slots, phase: Phase, happened: Happened | None = None
) -> tuple[Slots, tuple[Effect, ...]]:
    state = replace(state, phase=phase)
    report = _report(state, state.candidate)
    if happened is not None:
        report = replace(report, shadow=happened.shadow, paired=happened.paired)
    return state, (report, Work(phase=phase))


def _try(state: Slots, _happened: Happened) -> tuple[Slots, tuple[Effect, ...]]:
    return _enter(replace(state, attempts=state.attempts + 1), Phase.SHADOW)


def _activate(state: Slots, happened: Happened) -> tuple[Slots, tuple[Effect, ...]]:
    if state.phase == Phase.SHADOW:
        state = replace(state, attempts=0)
    if state.active != state.candidate:
        state = replace(
            state,
            previous=state.active,
            active=state.candidate,
            baseline=happened.baseline,
            paired=happened.paired,
            evidence="",
            answered=0,
        )
    state = replace(state, attempts=state.attempts + 1)
    return _enter(state, Phase.ACTIVATE, happened)


def _commit(state: Slots, happened: Happened) -> tuple[Slots, tuple[Effect, ...]]:
    if happened.event is not Event.RESTART:
        state = replace(
            state,
            evidence=happened.evidence,
            answered=happened.answered,
            detail=happened.detail,
        )
    return _enter(state, Phase.COMMIT)


def _roll_back(state: Slots, happened: Happened) -> tuple[Slots, tuple[Effect, ...]]:
    if happened.event is Event.RESTART:
        return _enter(state, Phase.ROLLBACK)
    failed = state.active
    code, detail = _reason(state, happened)
    judge = _disown if happened.event is Event.REVERT else _blame
    state = replace(
        judge(state, failed, happened),
        active=state.previous,
        previous=0,
        candidate=failed,
        code=code,
        detail=detail,
        paired=None,
        evidence="",
        answered=0,
    )
    return _enter(state, Phase.ROLLBACK)


def _pardon(state: Slots, release: int) -> Slots:
    """Let a forced assignment try a release once more.

    Should it fail again, that is no second failure: both say the same of one release.
    """
    failed_at = state.failed_at
    if state.quarantined[-1:] == (release,):
        failed_at = failed_at[:-1]
    pardoned = tuple(n for n in state.quarantined if n != release)
    return replace(state, quarantined=pardoned, failed_at=failed_at)


def _blame(state: Slots, release: int, happened: Happened) -> Slots:
    state = replace(state, failed_at=add_failure(state.failed_at, happened.at))
    if release in state.committed:
        return state
    return replace(state, quarantined=_remember(state.quarantined, release))


def _disown(state: Slots, release: int, _happened: Happened) -> Slots:
    """Let a release be wanted no more: only a forced assignment brings it again."""
    return replace(
        state,
        committed=tuple(n for n in state.committed if n != release),
        quarantined=_remember(state.quarantined, release),
    )


def _finish(state: Slots, happened: Happened) -> tuple[Slots, tuple[Effect, ...]]:
    phase, release = Phase(state.phase), state.candidate
    rest = replace(state, phase=Phase.IDLE, candidate=0, baseline=None)
    if phase is Phase.SAFE_MODE:
        return rest, (_report(rest, 0),)
    if phase is Phase.COMMIT:
        rest = replace(rest, committed=_remember(state.committed, state.active))
        return rest, (_report(rest, release, outcome="committed"),)
    if phase is Phase.ROLLBACK:
        return rest, (_report(rest, release, outcome="rolled_back"),)
    code, detail = _reason(state, happened)
    rest = replace(rest, code=code, detail=detail)
    tested = phase in {Phase.SELF_TEST, Phase.SHADOW}
    if tested and happened.event is not Event.TIMEOUT:
        rest = _blame(rest, release, happened)
    return _rest(rest, state, release, outcome="failed", happened=happened)


def _rest(
    rest: Slots,
    before: Slots,
    release: int,
    *,
    outcome: str,
    happened: Happened | None = None,
) -> tuple[Slots, tuple[Effect, ...]]:
    """End an attempt that activated nothing; the worker drops what it runs beside."""
    if not rest.active and rest.quarantined:
        rest = replace(rest, phase=Phase.SAFE_MODE)
    report = _report(rest, release, outcome=outcome)
    if happened is not None:
        report = replace(report, shadow=happened.shadow, paired=happened.paired)
    if rest.phase != Phase.SAFE_MODE and before.phase != Phase.SHADOW:
        return rest, (report,)
    return rest, (report, Work(phase=Phase(rest.phase)))


def _give_up(state: Slots, happened: Happened) -> tuple[Slots, tuple[Effect, ...]]:
    if happened.event is Event.RESTART:
        return state, (Work(phase=Phase.SAFE_MODE),)
    release = state.candidate
    rest = replace(state, phase=Phase.SAFE_MODE, active=0, candidate=0, baseline=None)
    if happened.code and not rest.code:
        rest = replace(rest, code=happened.code, detail=happened.detail)
    return rest, (
        _report(rest, release, outcome="rolled_back"),
        Work(phase=Phase.SAFE_MODE),
    )


def _reason(state: Slots, happened: Happened) -> tuple[str, str]:
    if happened.code:
        return happened.code, happened.detail
    if happened.event is Event.CRASH and state.phase == Phase.SHADOW:
        return (
            CRASHED_IN_SHADOW,
            "the worker died again and again while it ran the release in shadow",
        )
    if happened.event is Event.CRASH:
        return CRASHED, "the worker died again and again soon after the activation"
    return TIMED_OUT, "the phase took longer than its deadline"


def _report(state: Slots, release: int, *, outcome: str = "") -> Report:
    committed = outcome == "committed"
    return Report(
        seq=state.seq,
        rollout=state.assignment.rollout if state.assignment else "",
        release=release,
        phase=Phase(state.phase),
        outcome=outcome,
        code=state.code,
        detail=state.detail[:1000],
        evidence=state.evidence if committed else "",
    )


def _remember(known: tuple[int, ...], release: int) -> tuple[int, ...]:
    if not release or release in known:
        return known
    return (*known, release)[-MAX_REMEMBERED:]


_ENTRIES = {
    Phase.SHADOW: _try,
    Phase.ACTIVATE: _activate,
    Phase.COMMIT: _commit,
    Phase.ROLLBACK: _roll_back,
    Phase.IDLE: _finish,
    Phase.SAFE_MODE: _give_up,
}
