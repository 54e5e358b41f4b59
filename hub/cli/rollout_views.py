"""Rollouts as ``--json`` shows them."""

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from hub.storage.rollouts import RolloutDeviceRow, RolloutRow


class RolloutView(msgspec.Struct, frozen=True, kw_only=True):
    """A rollout as ``--json`` shows it; ``stages`` are cumulative shares.

    ``left_out`` maps hardware classes that get the release no more to why, ``gone``
    devices that take part no more.
    """

    id: str
    release: int
    incumbent: int
    state: str
    stage: int
    stages: tuple[float, ...]
    reason: str
    created_at: float
    updated_at: float
    left_out: dict[str, str] = {}
    gone: dict[str, str] = {}


class RolloutDeviceView(msgspec.Struct, frozen=True, kw_only=True):
    """One device of a rollout and what became of it ("": not decided yet).

    ``retries`` counts second chances, ``retried_after`` says after what.
    """

    device: str
    stage: int
    seq: int
    outcome: str
    code: str
    detail: str
    retries: int = 0
    retried_after: str = ""
    assigned_at: float = 0.0
    decided_at: float | None = None


class RolloutDetail(RolloutView, frozen=True, kw_only=True):
    """A rollout with the devices that got its release."""

    devices: list[RolloutDeviceView]
    planned: int


class TransitionView(msgspec.Struct, frozen=True, kw_only=True):
    """One transition and the facts that it was decided on."""

    at: float
    from_state: str
    to_state: str
    reason: str
    inputs: msgspec.Raw


def rollout_view(row: "RolloutRow") -> RolloutView:
    """Return a rollout as ``--json`` shows it."""
    return RolloutView(
        id=row.id,
        release=row.release,
        incumbent=row.incumbent,
        state=row.state.value,
        stage=row.stage,
        stages=row.plan.stages,
        reason=row.reason,
        created_at=row.created_at,
        updated_at=row.updated_at,
        left_out=row.plan.left_out,
        gone=row.plan.gone,
    )


def rollout_detail(row: "RolloutRow", given: "list[RolloutDeviceRow]") -> RolloutDetail:
    """Return a rollout with the devices that got its release."""
    return RolloutDetail(
        **msgspec.structs.asdict(rollout_view(row)),
        devices=[
            RolloutDeviceView(
                device=device.device,
                stage=device.stage,
                seq=device.assigned_seq,
                outcome=device.outcome,
                code=device.code,
                detail=device.detail,
                retries=device.retries,
                retried_after=device.retried_after,
                assigned_at=device.assigned_at,
                decided_at=device.decided_at,
            )
            for device in given
        ],
        planned=len(row.plan.devices.keys() - row.plan.gone.keys()),
    )
