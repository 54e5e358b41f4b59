"""What a person's wish makes of the journal; pure. Called by the update runner."""

from dataclasses import replace

from edge_agent.store.slots import Slots
from edge_agent.update.desk import (
    BUSY,
    NO_PREVIOUS,
    PINNED,
    REVERTED,
    Action,
    WishError,
)
from edge_agent.update.machine import Happened
from edge_agent.update.states import AT_REST, Event, Phase
from edge_agent.wire.records import EventRecord


def revert(state: Slots) -> Happened:
    """Return the event that sends the device back to the release before.

    Raises:
        WishError: An update is under way, or there is no release before.
    """
    if Phase(state.phase) not in {Phase.IDLE, Phase.PROBATION}:
        raise _busy(state)
    if not state.active or not state.previous:
        raise WishError(
            NO_PREVIOUS,
            "there is no release before the one that runs",
            cure="have the hub assign another release: hub rollouts start N",
        )
    return Happened(
        event=Event.REVERT,
        code=REVERTED,
        detail=f"a person at the device went back from release {state.active} to"
        f" {state.previous}",
    )


def pin(state: Slots, action: Action, at: float) -> tuple[Slots, list[EventRecord]]:
    """Return the state with the pin set or removed, and what the hub is told.

    Doing it twice changes and tells nothing.

    Raises:
        WishError: An update is under way: what it ends with is not known yet.
    """
    wanted = action is Action.PIN
    if Phase(state.phase) not in AT_REST:
        raise _busy(state)
    if state.pinned is wanted:
        return state, []
    what = "pinned to" if wanted else "no longer pinned to"
    event = EventRecord(
        at=at,
        code=PINNED,
        severity="info",
        text=f"by a person at the device it is {what} release {state.active}",
        facts={"pinned": str(wanted).lower(), "release": str(state.active)},
    )
    return replace(state, pinned=wanted), [event]


def _busy(state: Slots) -> WishError:
    return WishError(
        BUSY,
        f"release {state.candidate or state.active} is under way: {state.phase}",
        cure="wait for its end: edge-agent update status",
        retryable=True,
    )
