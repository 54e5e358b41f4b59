"""Making the plan of a rollout from the settings and the devices that there are.

Plain functions; the caller owns the transaction. Called by
:mod:`hub.rollout.service`.
"""

from msgspec import UNSET
from sqlalchemy import Connection

from hub.config import RolloutConfig
from hub.rollout.facts import hardware_of
from hub.rollout.plan import Plan, Target, joining_stage, stage_devices
from hub.rollout.states import BACKWARD, CLOSED
from hub.storage import devices as device_store
from hub.storage.devices import DeviceRow
from hub.storage.rollouts import RolloutRow


def make_plan(
    conn: Connection, config: RolloutConfig, rollout: str, stages: tuple[float, ...]
) -> Plan:
    """Return the plan of a new rollout."""
    targets = [_target(device) for device in device_store.list_devices(conn)]
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
    )


def find_joined(conn: Connection, row: RolloutRow, canary_min: int) -> dict[str, int]:
    """Return the stages of devices that appeared since the plan was made."""
    if row.state in CLOSED | BACKWARD:
        return {}
    known = device_store.list_devices(conn)
    if not row.plan.devices:
        targets = [_target(device) for device in known]
        return stage_devices(row.id, targets, row.plan.stages, canary_min)
    return {
        device.id: joining_stage(row.id, device.id, row.plan.stages, row.stage)
        for device in known
        if device.id not in row.plan.devices
    }


def _target(device: DeviceRow) -> Target:
    return Target(device=device.id, cohort=device.cohort, hardware=hardware_of(device))
