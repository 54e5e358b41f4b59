"""How long the present phase of an activation may take."""

from edge_agent.store.slots import Slots
from edge_agent.update.paired_trial import START_S
from edge_agent.update.shadowing import paired_policy
from edge_agent.update.states import DEADLINES_S, Phase

GRACE_S = 60.0
"""Time beyond a policy's deadline, after which a mute worker fails the release."""


def deadline_of(state: Slots) -> float:
    """Return the deadline of a phase that is not at rest, in seconds from its start.

    What the policies of an assignment ask for, where that is more than usual: SHADOW
    holds the paired test and then the live shadow.
    """
    phase, assignment = Phase(state.phase), state.assignment
    asked = 0.0
    if phase is Phase.PROBATION and assignment is not None:
        asked = assignment.probation.deadline_s + GRACE_S
    if phase is Phase.SHADOW and assignment is not None:
        asked = paired_policy(assignment).deadline_s + START_S + GRACE_S
        if assignment.shadow:
            asked += assignment.shadow.deadline_s
    return max(DEADLINES_S[phase], asked)
