"""Rollouts as the rest of the hub sees them: start, abort, list, and the tick.

A device has one model slot, so the fleet has one present release: that of the newest
rollout which completed. Each step of the engine is applied in one transaction with
the assignments it makes and the facts it was decided on; a crash between two steps
loses nothing. Called by the ticker thread and the command line.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec
from sqlalchemy import Connection, Engine

from edge_agent.base.clock import Clock
from hub.config import RolloutConfig
from hub.errors import ConflictError, NotFoundError, RefusedError
from hub.releases.floor import refuse_below
from hub.rollout.assigner import Assigner, terms_of
from hub.rollout.facts import gather, has_failed, is_boxed
from hub.rollout.machine import RolloutFacts, Step, step
from hub.rollout.plan import Plan, Target, joining_stage, stage_devices
from hub.rollout.states import BACKWARD, CLOSED, TRANSITIONS, Event, State
from hub.storage import devices as device_store
from hub.storage import releases as release_store
from hub.storage import rollouts as store
from hub.storage.db import transaction
from hub.storage.devices import DeviceRow
from hub.storage.rollouts import RolloutDeviceRow, RolloutEventRow, RolloutRow

log = logging.getLogger(__name__)

ROLLOUT_STATE = "rollout.state"
ROLLOUT_CONVERGE = "rollout.converge"

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
        self, release: int, *, stages: Sequence[float] = (), forced: bool = False
    ) -> str:
        """Start a rollout of a release and return its id; an open one is superseded.

        Args:
            release: What to roll out.
            stages: Cumulative shares of the fleet; by default those of the settings.
            forced: Whether devices on which it failed before, or too much did lately,
                get it too.

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
                raise ConflictError(
                    "HUB-ROLLOUT-002", f"the fleet is on release {release} already"
                )
            self._supersede(conn, f"release {release} is rolled out instead")
            rollout = f"{row.name}-{release}-{store.count_rollouts(conn) + 1}"
            now = self._clock.wall()
            store.insert_rollout(
                conn,
                RolloutRow(
                    id=rollout,
                    release=release,
                    incumbent=incumbent,
                    state=State.DRAFT,
                    stage=0,
                    plan=replace(self._plan(conn, rollout, shares), forced=forced),
                    reason="",
                    created_at=now,
                    updated_at=now,
                    stage_started_at=now,
                ),
            )
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
            self._apply(conn, row, facts, step(facts, now))

    def tick(self) -> None:
        """Step every open rollout as far as it goes now, then converge the rest."""
        with self._engine.connect() as conn:
            names = [row.id for row in store.open_rollouts(conn)]
        for name in names:
            for _ in range(_MAX_STEPS):
                if not self._step(name):
                    break
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
            decided = step(gather(conn, row, now), now)
            joined = self._joined(conn, row)
            if not joined and not _is_news(conn, row, decided):
                return False
        # Decide again on the facts inside the write transaction: only those count.
        with transaction(self._engine) as conn:
            row = _get(conn, rollout)
            joined = self._joined(conn, row)
            if joined:
                plan = replace(row.plan, devices={**row.plan.devices, **joined})
                store.store_plan(conn, rollout, plan)
                row = _get(conn, rollout)
            now = self._clock.wall()
            facts = gather(conn, row, now)
            self._apply(conn, row, facts, step(facts, now))
        return True

    def _apply(
        self, conn: Connection, row: RolloutRow, facts: RolloutFacts, decided: Step
    ) -> None:
        now = self._clock.wall()
        for device in decided.assign:
            seq = self._assigner.assign_in(
                conn, device, row.release, row.id, terms_of(row.plan)
            )
            store.insert_rollout_device(
                conn,
                RolloutDeviceRow(
                    rollout=row.id,
                    device=device,
                    stage=row.plan.devices[device],
                    assigned_seq=seq,
                    assigned_at=now,
                    outcome="",
                    code="",
                    detail="",
                    decided_at=None,
                ),
            )
        for device in decided.withdraw:
            if row.incumbent:
                self._assigner.assign_in(conn, device, row.incumbent, row.id)
            else:
                self._assigner.withdraw_in(conn, device, row.id)
        _store_outcomes(conn, row, facts, decided, now)
        if decided.event is None:
            if decided.reason not in {"", row.reason}:
                store.store_reason(conn, row.id, decided.reason, now)
            return
        event = RolloutEventRow(
            at=now,
            from_state=str(row.state),
            to_state=str(decided.state),
            reason=decided.reason,
            inputs=_encode_inputs(facts, decided),
        )
        store.store_transition(conn, row, event, stage=decided.stage)
        log.info(
            ROLLOUT_STATE,
            extra={
                "rollout": row.id,
                "release": row.release,
                "state": str(decided.state),
                "stage": decided.stage,
                "reason": decided.reason,
            },
        )

    def _plan(self, conn: Connection, rollout: str, stages: tuple[float, ...]) -> Plan:
        config = self._config
        targets = [_target(device) for device in device_store.list_devices(conn)]
        return Plan(
            stages=stages,
            devices=stage_devices(rollout, targets, stages, config.canary_min),
            max_failures=config.max_failures,
            min_labels=config.min_labels,
            accuracy_drop_max=config.accuracy_drop_max,
            soak_s=config.soak_s,
            stage_deadline_s=config.stage_deadline_s,
            shadow_ratio=config.shadow_ratio,
            shadow_min_samples=config.shadow_min_samples,
            shadow_deadline_s=config.shadow_deadline_s,
            shadow_disagreement_max=config.shadow_disagreement_max,
        )

    def _joined(self, conn: Connection, row: RolloutRow) -> dict[str, int]:
        """Return the stages of devices that appeared since the plan was made."""
        if row.state in CLOSED | BACKWARD:
            return {}
        known = device_store.list_devices(conn)
        if not row.plan.devices:
            targets = [_target(device) for device in known]
            canary_min = self._config.canary_min
            return stage_devices(row.id, targets, row.plan.stages, canary_min)
        return {
            device.id: joining_stage(row.id, device.id, row.plan.stages, row.stage)
            for device in known
            if device.id not in row.plan.devices
        }

    def _supersede(self, conn: Connection, reason: str) -> None:
        for row in store.open_rollouts(conn):
            if row.state in BACKWARD:
                raise ConflictError(
                    "HUB-ROLLOUT-005",
                    f"{row.id} is {row.state}: its devices are not back yet",
                    cure=f"wait for it: `hub rollouts watch {row.id}`",
                    retryable=True,
                )
            facts = gather(conn, row, self._clock.wall())
            decided = Step(
                event=Event.SUPERSEDED,
                state=TRANSITIONS[row.state, Event.SUPERSEDED],
                stage=row.stage,
                reason=reason,
            )
            self._apply(conn, row, facts, decided)

    def _converge(self) -> None:
        """Give the present release to devices that have another or none.

        These are devices that appeared, or were told something else by a rollout that
        was superseded. While a rollout is open, they are its business.
        """
        with self._engine.connect() as conn:
            if not self._astray(conn):
                return
        with transaction(self._engine) as conn:
            for device, row in self._astray(conn):
                self._assigner.assign_in(
                    conn, device, row.release, row.id, terms_of(row.plan)
                )
                log.info(
                    ROLLOUT_CONVERGE, extra={"device": device, "release": row.release}
                )

    def _astray(self, conn: Connection) -> list[tuple[str, RolloutRow]]:
        current = store.last_completed(conn)
        if current is None or store.open_rollouts(conn):
            return []
        assigned = device_store.list_assignments(conn)
        now = self._clock.wall()
        return [
            (device.id, current)
            for device in device_store.list_devices(conn)
            if (
                device.id not in assigned
                or assigned[device.id].release != current.release
            )
            and not is_boxed(device, now)
            and not has_failed(device, current.release)
        ]


def _get(conn: Connection, rollout: str) -> RolloutRow:
    row = store.get_rollout(conn, rollout)
    if row is None:
        raise NotFoundError(
            "HUB-ROLLOUT-003",
            f"there is no rollout {rollout!r}",
            cure="`hub rollouts list` shows what there is",
        )
    return row


def _target(device: DeviceRow) -> Target:
    hardware = device.presence.hardware if device.presence else ""
    return Target(device=device.id, cohort=device.cohort, hardware=hardware)


def _is_news(conn: Connection, row: RolloutRow, decided: Step) -> bool:
    if decided.event or decided.assign or decided.withdraw:
        return True
    if decided.reason not in {"", row.reason}:
        return True
    given = store.rollout_devices(conn, row.id)
    return any(given[name].outcome != o for name, o in decided.outcomes.items())


def _store_outcomes(
    conn: Connection, row: RolloutRow, facts: RolloutFacts, decided: Step, now: float
) -> None:
    given = store.rollout_devices(conn, row.id)
    for device in facts.devices:
        outcome = decided.outcomes.get(device.device)
        if outcome is None or given[device.device].outcome == outcome:
            continue
        store.store_outcome(
            conn,
            replace(
                given[device.device],
                outcome=str(outcome),
                code=device.code,
                detail=device.detail,
                decided_at=now if outcome else None,
            ),
        )


def _encode_inputs(facts: RolloutFacts, decided: Step) -> str:
    """Encode what a decision was made from, without the plan that is stored anyway."""
    inputs = {
        "stage": facts.stage,
        "stage_started_at": facts.stage_started_at,
        "candidate": facts.candidate,
        "incumbent": facts.incumbent,
        "devices": facts.devices,
        "cells": facts.cells,
        "given": facts.given,
        "verdict": decided.verdict,
    }
    return msgspec.json.encode(inputs).decode()
