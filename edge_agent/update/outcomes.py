"""What the work of a phase can come to."""

from dataclasses import dataclass

from edge_agent.errors import AgentError, UpdateError
from edge_agent.update.machine import Happened
from edge_agent.update.states import Event
from edge_agent.wire.control import TufBundle


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """Not finished. ``after_s`` 0: a failure that may pass; wait longer each time."""

    after_s: float = 0.0
    why: str = ""
    error: AgentError | None = None
    """The failure, where it is one that the hub should hear of if it does not pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """Metadata came over HTTP: it is to be judged, and then the phase tried again."""

    bundle: TufBundle
    why: UpdateError


Outcome = Happened | Again | Fetched
OK = Happened(event=Event.OK)
