"""The pure step of an activation: ``step(state, happened) -> (state, effects)``.

Invariants: the newest assignment wins and its number is never forgotten; the swap of
slots is part of the one step into ``ACTIVATE``, its reversal of the one step into
``ROLLBACK``; ``committed`` is reported by the step that leaves ``COMMIT`` and by
nothing before; a release that failed here is quarantined unless it was once committed
here; every load of a candidate counts as an attempt, every step as a transition, and
both have a limit, so no crash loop lasts.
"""

from dataclasses import dataclass, replace

from edge_agent.store.slots import Figures, Slots
from edge_agent.update.states import AT_REST, TRANSITIONS, Event, Phase
from edge_agent.wire.control import Assignment

MAX_ATTEMPTS = 2
MAX_TRANSITIONS = 28
MAX_REMEMBERED = 64

QUARANTINED = "AGENT-UPDATE-060"
LOOPED = "AGENT-UPDATE-061"
CRASHED = "AGENT-UPDATE-062"
TIMED_OUT = "AGENT-UPDATE-063"


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """An event with its facts.

    ``assignment`` comes with ``ASSIGN``, ``baseline`` with the ``OK`` of a self-test
    (how the active release did until now), ``code`` and ``detail`` with what is not OK.
    """

    event: Event
    assignment: Assignment | None = None
    baseline: Figures | None = None
    code: str = ""
    detail: str = ""
    blameless: bool = False
    """A failure that says nothing against the release, such as a full disk."""


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


Effect = Work | Report


def step(state: Slots, happened: Happened) -> tuple[Slots, tuple[Effect, ...]]:
    """Return the state after an event, and what is to be done then.

    No effects and the same state mean that the event changes nothing.
    """
    if happened.event is Event.ASSIGN:
        return _assign(state, happened)
    happened = _limited(state, happened)
    phase = TRANSITIONS.get((Phase(state.phase), happened.event))
    if phase is None:
        return state, ()
    state = replace(state, transitions=state.transitions + 1)
    enter = _ENTRIES.get(phase)
    return _enter(state, phase) if enter is None else enter(state, happened)


def _assign(state: Slots, happened: Happened) -> tuple[Slots, tuple[Effect, ...]]:
    new = happened.assignment
    phase = TRANSITIONS.get((Phase(state.phase), Event.ASSIGN))
    if new is None or phase is None or new.seq <= state.seq:
        return state, ()
    taken = replace(
        state,
        seq=new.seq,
        assignment=new,
        candidate=new.release,
        attempts=0,
        transitions=1,
        baseline=None,
        code="",
        detail="",
    )
    if new.release == state.active:
        rest = replace(taken, phase=Phase.IDLE, candidate=0)
        return rest, (_report(rest, new.release, outcome="committed"),)
    if new.release in state.quarantined and new.release not in state.committed:
        rest = replace(
            taken,
            phase=Phase.IDLE if state.active else Phase.SAFE_MODE,
            candidate=0,
            code=QUARANTINED,
            detail=f"release {new.release} failed on this device before",
        )
        return rest, (_report(rest, new.release, outcome="rejected"),)
    return _enter(taken, phase)


def _limited(state: Slots, happened: Happened) -> Happened:
    """Turn an event into a failure where a limit is reached."""
    phase = Phase(state.phase)
    looping = state.transitions >= MAX_TRANSITIONS and phase not in AT_REST
    if happened.event is Event.RESTART and phase in {Phase.ACTIVATE, Phase.PROBATION}:
        looping = looping or state.attempts >= MAX_ATTEMPTS
    if not looping or happened.event not in {Event.RESTART, Event.OK}:
        return happened
    if phase in {Phase.COMMIT, Phase.ROLLBACK}:
        return happened
    text = f"gave up after {state.transitions} steps and {state.attempts} loads"
    return Happened(event=Event.FAIL, code=LOOPED, detail=text)


def _enter(state: Slots, phase: Phase) -> tuple[Slots, tuple[Effect, ...]]:
    state = replace(state, phase=phase)
    return state, (_report(state, state.candidate), Work(phase=phase))


def _activate(state: Slots, happened: Happened) -> tuple[Slots, tuple[Effect, ...]]:
    if state.active != state.candidate:
        state = replace(
            state,
            previous=state.active,
            active=state.candidate,
            baseline=happened.baseline,
        )
    return _enter(replace(state, attempts=state.attempts + 1), Phase.ACTIVATE)


def _roll_back(state: Slots, happened: Happened) -> tuple[Slots, tuple[Effect, ...]]:
    if happened.event is Event.RESTART:
        return _enter(state, Phase.ROLLBACK)
    failed = state.active
    code, detail = _reason(happened)
    state = replace(
        _quarantine(state, failed, happened),
        active=state.previous,
        previous=0,
        candidate=failed,
        code=code,
        detail=detail,
    )
    return _enter(state, Phase.ROLLBACK)


def _quarantine(state: Slots, release: int, happened: Happened) -> Slots:
    if happened.blameless or release in state.committed:
        return state
    return replace(state, quarantined=_remember(state.quarantined, release))


def _finish(state: Slots, happened: Happened) -> tuple[Slots, tuple[Effect, ...]]:
    phase, release = Phase(state.phase), state.candidate
    rest = replace(state, phase=Phase.IDLE, candidate=0, baseline=None)
    if phase is Phase.COMMIT:
        rest = replace(rest, committed=_remember(state.committed, state.active))
        return rest, (_report(rest, release, outcome="committed"),)
    if phase is Phase.ROLLBACK:
        if not state.active:
            return _give_up(state, Happened(event=Event.FAIL))
        return rest, (_report(rest, release, outcome="rolled_back"),)
    code, detail = _reason(happened)
    rest = replace(rest, code=code, detail=detail)
    if phase is Phase.SELF_TEST and happened.event is Event.FAIL:
        rest = _quarantine(rest, release, happened)
    if not state.active and rest.quarantined:
        rest = replace(rest, phase=Phase.SAFE_MODE)
    return rest, (_report(rest, release, outcome="failed"),)


def _give_up(state: Slots, happened: Happened) -> tuple[Slots, tuple[Effect, ...]]:
    release = state.candidate
    rest = replace(state, phase=Phase.SAFE_MODE, active=0, candidate=0, baseline=None)
    if happened.code and not rest.code:
        rest = replace(rest, code=happened.code, detail=happened.detail)
    return rest, (
        _report(rest, release, outcome="rolled_back"),
        Work(phase=Phase.SAFE_MODE),
    )


def _reason(happened: Happened) -> tuple[str, str]:
    if happened.code:
        return happened.code, happened.detail
    if happened.event is Event.CRASH:
        return CRASHED, "the worker died again and again soon after the activation"
    return TIMED_OUT, "the phase took longer than its deadline"


def _report(state: Slots, release: int, *, outcome: str = "") -> Report:
    return Report(
        seq=state.seq,
        rollout=state.assignment.rollout if state.assignment else "",
        release=release,
        phase=Phase(state.phase),
        outcome=outcome,
        code=state.code if outcome != "committed" else "",
        detail=state.detail[:1000] if outcome != "committed" else "",
    )


def _remember(known: tuple[int, ...], release: int) -> tuple[int, ...]:
    if not release or release in known:
        return known
    return (*known, release)[-MAX_REMEMBERED:]


_ENTRIES = {
    Phase.ACTIVATE: _activate,
    Phase.ROLLBACK: _roll_back,
    Phase.IDLE: _finish,
    Phase.SAFE_MODE: _give_up,
}
