"""Making the plan of a rollout from the settings and the devices that there are.

Plain functions; the caller owns the transaction. Called by
:mod:`hub.rollout.service`.
"""

from dataclasses import dataclass, replace

from msgspec import UNSET
from sqlalchemy import Connection

from hub.config import RolloutConfig
from hub.rollout.facts import hardware_of
from hub.rollout.gone import gone_devices
from hub.rollout.plan import Plan, Target, joining_stage, place, stage_devices
from hub.rollout.states import BACKWARD, CLOSED
from hub.storage import devices as device_store
from hub.storage.devices import DeviceRow
from hub.storage.rollouts import RolloutRow


def make_plan(
    conn: Connection, config: RolloutConfig, rollout: str, stages: tuple[float, ...]
) -> Plan:
    """Return the plan of a new rollout, without the devices that are gone."""
    gone = gone_devices(conn)
    known = device_store.list_devices(conn)
    targets = [_target(device) for device in known if device.id not in gone]
    return Plan(
        stages=stages,
        devices=stage_devices(rollout, targets, stages, config.canary_min),
        max_failures=None if config.max_failures is UNSET else config.max_failures,
        min_labels=config.min_labels,
        accuracy_drop_max=config.accuracy_drop_max,
        soak_s=config.soak_s,
        stage_deadline_s=config.stage_deadline_s,
        shadow_ratio=config.shadow_ratio,
        shadow_min_samples=config.shadow_min_samples,
        shadow_deadline_s=config.shadow_deadline_s,
        shadow_disagreement_max=config.shadow_disagreement_max,
        paired_latency_ratio_max=config.paired_latency_ratio_max,
        promote_untested=config.promote_untested,
        gone={device.id: gone[device.id] for device in known if device.id in gone},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Comings:
    """Who came into a running rollout, with their stages, and who is gone and why."""

    joined: dict[str, int]
    gone: dict[str, str]

    def into(self, plan: Plan) -> Plan:
        """Return the plan as it is with them."""
        return replace(plan, devices={**plan.devices, **self.joined}, gone=self.gone)


def find_comings(conn: Connection, row: RolloutRow, canary_min: int) -> Comings | None:
    """Return what changed of who takes part since the plan was stored.

    A device that is back keeps the stage that it had.
    """
    if row.state in CLOSED:
        return None
    every = gone_devices(conn)
    known = device_store.list_devices(conn)
    gone = {device.id: every[device.id] for device in known if device.id in every}
    present = [device for device in known if device.id not in gone]
    joined: dict[str, int] = {}
    if row.state not in BACKWARD:
        joined = _joined(row, present, canary_min)
        joined = joined or _stand_ins(row, {one.id for one in present}, canary_min)
    if not joined and gone == row.plan.gone:
        return None
    return Comings(joined=joined, gone=gone)


def _joined(
    row: RolloutRow, present: list[DeviceRow], canary_min: int
) -> dict[str, int]:
    """Return the stages of devices that appeared since the plan was made."""
    if not row.plan.devices:
        targets = [_target(device) for device in present]
        return stage_devices(row.id, targets, row.plan.stages, canary_min)
    return {
        device.id: joining_stage(row.id, device.id, row.plan.stages, row.stage)
        for device in present
        if device.id not in row.plan.devices
    }


def _stand_ins(row: RolloutRow, present: set[str], canary_min: int) -> dict[str, int]:
    """Bring devices of the next stage forward if the present one has none left.

    A stage whose devices are all gone would wait for its evidence for ever.
    """
    plan = {one: stage for one, stage in row.plan.devices.items() if one in present}
    later = [stage for stage in plan.values() if stage > row.stage]
    if not later or len(later) < len(plan):
        return {}
    following = [one for one, stage in plan.items() if stage == min(later)]
    following.sort(key=lambda device: place(row.id, device))
    return dict.fromkeys(following[:canary_min], row.stage)


def _target(device: DeviceRow) -> Target:
    return Target(device=device.id, cohort=device.cohort, hardware=hardware_of(device))
