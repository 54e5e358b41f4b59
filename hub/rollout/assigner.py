"""How rollouts give releases to devices: the port, and the terms that a plan asks for.

Used by :mod:`hub.rollout.service`; :class:`hub.devices.service.DeviceService` is the
port's only adapter.
"""

from typing import Protocol

from sqlalchemy import Connection

from edge_agent.wire.control import PairedPolicy, ShadowPolicy
from hub.devices.terms import PLAIN, Terms
from hub.rollout.plan import Plan


class Assigner(Protocol):
    """What rollouts need of :class:`hub.devices.service.DeviceService`."""

    def assign_in(
        self,
        conn: Connection,
        device: str,
        release: int,
        rollout: str,
        terms: Terms = PLAIN,
    ) -> int:
        """Assign a release inside the caller's transaction and return its seq."""
        ...

    def withdraw_in(self, conn: Connection, device: str, rollout: str) -> int:
        """Take a device's assignment back and return the seq of that."""
        ...


def terms_of(plan: Plan) -> Terms:
    """Return on what terms the devices of a rollout get its release.

    One device may be odd: alone it stops only at twice what the mean may be.
    """
    paired = PairedPolicy(latency_ratio_max=plan.paired_latency_ratio_max)
    if not plan.shadow_ratio:
        return Terms(paired=paired, forced=plan.forced)
    shadow = ShadowPolicy(
        sample_ratio=plan.shadow_ratio,
        min_samples=plan.shadow_min_samples,
        deadline_s=plan.shadow_deadline_s,
        disagreement_max=min(1.0, 2.0 * plan.shadow_disagreement_max),
    )
    return Terms(paired=paired, shadow=shadow, forced=plan.forced)
