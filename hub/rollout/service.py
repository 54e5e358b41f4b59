"""Rollouts as the rest of the hub sees them: start, abort, list, and the tick.

A device has one model slot, so the fleet has one present release: that of the newest
rollout which completed. Each step of the engine is applied in one transaction with
the assignments it makes and the facts it was decided on; a crash between two steps
loses nothing. Called by the ticker thread and the command line.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from sqlalchemy import Connection, Engine

from edge_agent.base.clock import Clock
from hub.config import RolloutConfig
from hub.errors import ConflictError, NotFoundError, RefusedError
from hub.faults import Fault, classify
from hub.releases.floor import refuse_below
from hub.rollout.applying import apply_step, is_news, note_gone
from hub.rollout.approval import approve
from hub.rollout.assigner import Assigner, terms_of
from hub.rollout.facts import gather
from hub.rollout.gates.failures import left_out_text
from hub.rollout.machine import Step, step
from hub.rollout.plan import Approval
from hub.rollout.planning import find_comings, make_plan
from hub.rollout.present import find_astray
from hub.rollout.states import BACKWARD, CLOSED, TRANSITIONS, Event, State
from hub.storage import releases as release_store
from hub.storage import rollouts as store
from hub.storage.db import transaction
from hub.storage.rollouts import RolloutDeviceRow, RolloutEventRow, RolloutRow

log = logging.getLogger(__name__)

ROLLOUT_CONVERGE = "rollout.converge"
ROLLOUT_APPROVED = "rollout.approved"
ROLLOUT_FAILED = "rollout.step_failed"

_MAX_STEPS = 16
"""Steps of one rollout in one tick; a path through all states is shorter."""


class RolloutService:
    """Starts, steps and shows rollouts."""

    def __init__(
        self,
        engine: Engine,
        config: RolloutConfig,
        clock: Clock,
        assigner: Assigner,
        *,
        min_release: Callable[[], int] = int,
    ) -> None:
        """Work on one database; ``assigner`` signs and stores assignments.

        ``min_release`` is the lowest release that devices install (0: any).
        """
        self._engine = engine
        self._config = config
        self._clock = clock
        self._assigner = assigner
        self._min_release = min_release

    def start(
        self,
        release: int,
        *,
        stages: Sequence[float] = (),
        forced: bool = False,
        promote_untested: bool = False,
    ) -> str:
        """Start a rollout of a release and return its id; an open one is superseded.

        Args:
            release: What to roll out.
            stages: Cumulative shares of the fleet; by default those of the settings.
            forced: Whether devices on which it failed before, or too much did lately,
                get it too.
            promote_untested: Whether stages are promoted past their deadline though
                devices could not test it; the settings may say so too.

        Raises:
            NotFoundError: There is no such release (``HUB-RELEASE-010``).
            RefusedError: The stages are not rising shares up to 1, or the release is
                below the lowest that devices install (``HUB-FLOOR-002``).
            ConflictError: The fleet has this release already, or a rollout is just
                being rolled back.
        """
        shares = tuple(stages or self._config.stages)
        if list(shares) != sorted(set(shares)) or shares[0] <= 0 or shares[-1] != 1:
            raise RefusedError(
                "HUB-ROLLOUT-001",
                f"stages {list(shares)} are not rising shares that end with 1.0",
                cure="for example: --stages 0.25,0.5,1.0",
            )
        refuse_below(release, self._min_release())
        with transaction(self._engine) as conn:
            row = release_store.require_release(conn, release)
            current = store.last_completed(conn)
            incumbent = current.release if current else 0
            if incumbent == release:
                left_out = left_out_text(current.plan.left_out) if current else ""
                text = f"the fleet is on release {release} already"
                text += f"; {left_out}" if left_out else ""
                raise ConflictError("HUB-ROLLOUT-002", text)
            self._supersede(conn, f"release {release} is rolled out instead")
            rollout = f"{row.name}-{release}-{store.count_rollouts(conn) + 1}"
            now = self._clock.wall()
            plan = make_plan(conn, self._config, rollout, shares)
            untested = promote_untested or plan.promote_untested
            store.insert_rollout(
                conn,
                RolloutRow(
                    id=rollout,
                    release=release,
                    incumbent=incumbent,
                    state=State.DRAFT,
                    stage=0,
                    plan=replace(plan, forced=forced, promote_untested=untested),
                    reason="",
                    created_at=now,
                    updated_at=now,
                    stage_started_at=now,
                ),
            )
            if plan.gone:
                made = _get(conn, rollout)
                note_gone(conn, made, gather(conn, made, now), now)
        return rollout

    def abort(self, rollout: str, reason: str) -> None:
        """Abort a rollout; the ticker takes its devices back to the incumbent.

        Raises:
            NotFoundError: There is no such rollout (``HUB-ROLLOUT-003``).
            ConflictError: It is over, or aborting already (``HUB-ROLLOUT-004``).
        """
        with transaction(self._engine) as conn:
            row = _get(conn, rollout)
            if row.state in CLOSED | BACKWARD:
                raise ConflictError("HUB-ROLLOUT-004", f"{rollout} is {row.state}")
            now = self._clock.wall()
            facts = gather(conn, row, now, abort_reason=reason)
            apply_step(conn, self._assigner, facts, step(facts, now), now)

    def promote(
        self, rollout: str, *, why: str, who: str, stage: int | None = None
    ) -> None:
        """Let the present stage go on without the evidence that it lacks.

        ``stage`` is the one that the person looked at (from 0; ``None``: whichever).

        Raises:
            NotFoundError: There is no such rollout (``HUB-ROLLOUT-003``).
            ConflictError: There is nothing to approve (``HUB-ROLLOUT-007``), or what
                failed stops it (``HUB-ROLLOUT-008``), or it is in another stage by now
                (``HUB-ROLLOUT-009``).
        """
        with transaction(self._engine) as conn:
            row = _get(conn, rollout)
            if stage is not None and stage != row.stage:
                raise ConflictError(
                    "HUB-ROLLOUT-009",
                    f"{rollout} is in stage {row.stage + 1} by now, not {stage + 1}:"
                    " nothing was approved",
                    cure=f"look at it again: `hub rollouts get {rollout}`",
                )
            now = self._clock.wall()
            approval = Approval(stage=row.stage, who=who, why=why)
            approve(conn, row, gather(conn, row, now), approval, now)
        log.info(ROLLOUT_APPROVED, extra={"rollout": rollout, "who": who, "why": why})

    def tick(self) -> None:
        """Step every open rollout as far as it goes now, then converge the rest."""
        with self._engine.connect() as conn:
            names = [row.id for row in store.open_rollouts(conn)]
        for name in names:
            try:
                for _ in range(_MAX_STEPS):
                    if not self._step(name):
                        break
            except Exception as error:
                # One rollout that cannot be judged holds up no other.
                if classify(error) is not Fault.DATA:
                    raise
                log.exception(ROLLOUT_FAILED, extra={"rollout": name})
        self._converge()

    def list_rollouts(self) -> list[RolloutRow]:
        """Return all rollouts, oldest first."""
        with self._engine.connect() as conn:
            return store.list_rollouts(conn)

    def get(self, rollout: str) -> tuple[RolloutRow, list[RolloutDeviceRow]]:
        """Return a rollout and the devices that it gave its release.

        Raises:
            NotFoundError: There is no such rollout.
        """
        with self._engine.connect() as conn:
            row = _get(conn, rollout)
            return row, list(store.rollout_devices(conn, rollout).values())

    def explain(self, rollout: str) -> list[RolloutEventRow]:
        """Return a rollout's transitions with the facts they were decided on.

        Raises:
            NotFoundError: There is no such rollout.
        """
        with self._engine.connect() as conn:
            _get(conn, rollout)
            return store.list_events(conn, rollout)

    def current_release(self) -> int:
        """Return the release that the whole fleet shall run (0: none yet)."""
        with self._engine.connect() as conn:
            row = store.last_completed(conn)
            return row.release if row else 0

    def _step(self, rollout: str) -> bool:
        """Make one step; tell whether anything changed."""
        with self._engine.connect() as conn:
            row = _get(conn, rollout)
            now = self._clock.wall()
            facts = gather(conn, row, now)
            decided = step(facts, now)
            news = find_comings(conn, row, self._config.canary_min)
            if not news and not is_news(conn, row, facts, decided):
                return False
        # Decide again on the facts inside the write transaction: only those count.
        with transaction(self._engine) as conn:
            row = _get(conn, rollout)
            now = self._clock.wall()
            comings = find_comings(conn, row, self._config.canary_min)
            if comings:
                left = comings.gone != row.plan.gone
                store.store_plan(conn, rollout, comings.into(row.plan))
                row = _get(conn, rollout)
                if left:
                    note_gone(conn, row, gather(conn, row, now), now)
            facts = gather(conn, row, now)
            apply_step(conn, self._assigner, facts, step(facts, now), now)
        return True

    def _supersede(self, conn: Connection, reason: str) -> None:
        for row in store.open_rollouts(conn):
            if row.state in BACKWARD:
                raise ConflictError(
                    "HUB-ROLLOUT-005",
                    f"{row.id} is {row.state}: its devices are not back yet",
                    cure=f"wait for it: `hub rollouts watch {row.id}`",
                    retryable=True,
                )
            now = self._clock.wall()
            facts = gather(conn, row, now)
            decided = Step(
                event=Event.SUPERSEDED,
                state=TRANSITIONS[row.state, Event.SUPERSEDED],
                stage=row.stage,
                reason=reason,
            )
            apply_step(conn, self._assigner, facts, decided, now)

    def _converge(self) -> None:
        """Give the present release to devices that have another or none.

        See :func:`hub.rollout.present.find_astray`.
        """
        with self._engine.connect() as conn:
            if not find_astray(conn, self._clock.wall()):
                return
        with transaction(self._engine) as conn:
            for device, row in find_astray(conn, self._clock.wall()):
                self._assigner.assign_in(
                    conn, device, row.release, row.id, terms_of(row.plan)
                )
                log.info(
                    ROLLOUT_CONVERGE, extra={"device": device, "release": row.release}
                )


def _get(conn: Connection, rollout: str) -> RolloutRow:
    row = store.get_rollout(conn, rollout)
    if row is None:
        raise NotFoundError(
            "HUB-ROLLOUT-003",
            f"there is no rollout {rollout!r}",
            cure="`hub rollouts list` shows what there is",
        )
    return row
