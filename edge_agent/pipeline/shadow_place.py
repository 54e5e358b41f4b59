"""The place for a release in shadow in the sample path; mostly it is empty.

A thread that answers a request remembers it here if it is one of the sampled, and hands
it over once the reply is sent. Reloads begin and end shadows.
"""

import logging
import threading
from dataclasses import replace

from edge_agent.evidence.judge import PairedFigures, expected_entropy
from edge_agent.pipeline.infer import Ladder, Loaded
from edge_agent.pipeline.owner import Owner
from edge_agent.pipeline.pairs import Place
from edge_agent.pipeline.prediction import Given, Prediction
from edge_agent.pipeline.shadow import (
    Asked,
    Opened,
    Role,
    Shadow,
    ShadowPlan,
    ShadowPorts,
    ShadowView,
)
from edge_agent.pipeline.waiting import Urgency
from edge_agent.wire.records import ShadowSummary

SHADOW_ENDED = "shadow.ended"
SHADOW_STUCK = "shadow.stuck"
END_S = 1.0
"""How long a reload waits for the candidate to be freed."""
STUCK_S = 2.0
"""After so much longer, what does not end is taken to never end."""
NONE = ShadowPlan()

Turn = tuple[Shadow, Place]

log = logging.getLogger(__name__)


class OwnedPredictor:
    """A loaded release, asked through its owner: live requests to it go first."""

    def __init__(self, owner: Owner) -> None:
        """Ask this owner."""
        self._owner = owner

    def predict(self, sample: Given) -> Prediction:
        """Return the prediction of one sample.

        Raises:
            SampleRejectedError: The sample fails a quality check.
            ModelError: The model failed.
            WorkerError: The owner was not free in time, or has been closed.
        """
        return self._owner.predict(sample, urgency=Urgency.BACKGROUND)

    def close(self) -> None:
        """Leave the release loaded: it is the ladder's."""


class Beside:
    """The place; one shadow at most is in it."""

    def __init__(self, ports: ShadowPorts | None = None) -> None:
        """Start with none; without ``ports`` there can be none."""
        self._ports = ports
        self._present: Shadow | None = None
        self._mine = threading.local()

    def take_turn(self, release: int, stream: str) -> Turn | None:
        """Tell whether a request that a release was asked is one of the sampled."""
        shadow = self._present
        # During a swap the release in shadow may still answer, or answer already.
        if shadow is None or shadow.plan.release == release:
            return None
        place = shadow.take_turn(stream)
        return None if place is None else (shadow, place)

    def note(self, turn: Turn, asked: Asked, owner: Owner) -> None:
        """Remember what the calling thread just answered."""
        self._mine.job = (turn, asked, owner)

    def after_reply(self) -> None:
        """Hand over what the calling thread remembers: its reply is sent.

        Called by whoever sends replies; by a thread's next request at the latest.
        """
        job, ports = getattr(self._mine, "job", None), self._ports
        if job is not None:
            self._mine.job = None
            (shadow, place), asked, owner = job
            busy = owner.waiting > 0 or (ports is not None and ports.is_shed())
            shadow.offer(asked, place, busy=busy)

    def make_room(self, plan: ShadowPlan) -> None:
        """End the present shadow unless it is the planned one; before models load."""
        present, ports = self._present, self._ports
        if present is None or ports is None or _is_of(present, plan):
            return
        self._present = None
        self._end(present, ports)

    def follow(self, plan: ShadowPlan, ladder: Ladder) -> None:
        """Run this release in shadow; reloads go one at a time.

        Args:
            plan: The release; none is run where it cannot be compared (see
                :func:`is_comparable`) or is not loaded.
            ladder: What is served from now on.
        """
        self.make_room(plan)
        ports = self._ports
        if ports is None or self._present is not None or not plan.release:
            return
        incumbent = ladder.active if plan.role is Role.CANDIDATE else ladder.previous
        if incumbent is not None:
            plan = replace(plan, entropy=expected_entropy(incumbent.reference))
        if plan.role is Role.CANDIDATE:
            fresh = Shadow(plan, lambda: ports.load(plan.release), ports)
        else:
            active, previous = ladder.active, ladder.previous
            if active is None or previous is None or previous.release != plan.release:
                return
            if not is_comparable(active, previous):
                return
            opened = Opened(
                predictor=OwnedPredictor(previous.owner), labels=previous.labels
            )
            fresh = Shadow(plan, lambda: opened, ports)
        self._present = fresh
        ports.spawn(f"shadow-{plan.release}", fresh.run)

    def view(self) -> ShadowView:
        """Return how the shadow does (release 0: there is none)."""
        shadow = self._present
        return (
            ShadowView(summary=ShadowSummary(release=0))
            if not shadow
            else shadow.view()
        )

    def figures(self) -> PairedFigures | None:
        """Return the figures of its pairs, if they say something."""
        shadow = self._present
        return None if shadow is None else shadow.figures()

    def _end(self, shadow: Shadow, ports: ShadowPorts) -> None:
        shadow.close()
        release = shadow.plan.release
        if shadow.ended.wait(END_S):
            log.info(SHADOW_ENDED, extra={"release": release})
            return

        def watch() -> None:
            if not shadow.ended.wait(STUCK_S):
                log.error(SHADOW_STUCK, extra={"release": release})
                ports.give_up()

        ports.spawn("shadow-end", watch)


def is_comparable(active: Loaded, previous: Loaded) -> bool:
    """Tell whether single answers of two releases can be compared.

    They are of one model, take the same inputs, and keep no state between samples: what
    a model with state answers depends on samples that the other did not get.
    """
    one, other = ([i.tensor for i in loaded.inputs] for loaded in (active, previous))
    return (
        active.name == previous.name
        and one == other
        and not active.is_factory
        and not (active.stateful or previous.stateful)
    )


def _is_of(shadow: Shadow, plan: ShadowPlan) -> bool:
    present = shadow.plan
    return (present.release, present.role) == (plan.release, plan.role)
