"""Who is in which stage of a rollout: stable, stratified, pure.

A device's place depends only on the rollout's id, the device's id and the strata, so
the same fleet always gives the same plan. The order goes round the cohorts, and inside
a cohort round its hardware classes: any prefix of it represents both as well as its
length allows, and so the canary does. Called by :mod:`hub.rollout.service`.
"""

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

_HASH_BITS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A device as the plan sees it."""

    device: str
    cohort: str = ""
    hardware: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """What a person let pass in a stage without evidence, who that was, and why."""

    stage: int
    who: str
    why: str
    devices: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    labels: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The stages of one rollout and the limits of its gates.

    ``stages`` are cumulative shares of the fleet. ``devices`` gives each known device
    its stage; devices that appear later join by :func:`joining_stage`. A share of
    ``shadow_ratio`` of a device's requests is tried in shadow first (0: none).
    ``forced`` ignores quarantines and penalty boxes. ``max_failures`` is an operator's
    hard limit (``None``: :mod:`hub.rollout.gates.failures` decides alone).
    ``promote_untested`` promotes past a stage's deadline what could not be tested.
    ``left_out`` maps the hardware classes that get the release no more to why, and
    ``approvals`` are what people let pass. ``gone`` maps devices that take part no more
    (retired, revoked) to why.
    """

    stages: tuple[float, ...]
    devices: dict[str, int] = field(default_factory=dict)
    max_failures: int | None = None
    min_labels: int
    accuracy_drop_max: float
    soak_s: float
    stage_deadline_s: float
    shadow_ratio: float = 0.0
    shadow_min_samples: int = 1
    shadow_deadline_s: float = 0.0
    shadow_disagreement_max: float = 1.0
    forced: bool = False
    paired_latency_ratio_max: float = 2.0
    promote_untested: bool = False
    left_out: dict[str, str] = field(default_factory=dict)
    approvals: tuple[Approval, ...] = ()
    gone: dict[str, str] = field(default_factory=dict)

    @property
    def last_stage(self) -> int:
        """Number of the last stage; stages count from 0."""
        return len(self.stages) - 1


def place(rollout: str, device: str) -> float:
    """Return the device's stable place in this rollout, in [0, 1)."""
    digest = hashlib.sha256(f"{rollout}\n{device}".encode()).digest()
    return int.from_bytes(digest, "big") / float(1 << _HASH_BITS)


def order_devices(rollout: str, targets: Iterable[Target]) -> list[str]:
    """Order a fleet for a rollout: round the cohorts, and round hardware within."""
    cohorts: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for target in targets:
        cohorts[target.cohort][target.hardware].append(target.device)

    def by_place(devices: list[str]) -> list[str]:
        return sorted(devices, key=lambda device: (place(rollout, device), device))

    return _round_robin(
        rollout,
        [
            _round_robin(rollout, [by_place(group) for group in hardware.values()])
            for hardware in cohorts.values()
        ],
    )


def stage_sizes(total: int, stages: Sequence[float], canary_min: int) -> list[int]:
    """Return how many devices are in each stage and those before it.

    A stage below 1 holds at least ``canary_min`` devices, and never more than all;
    the sizes never fall.
    """
    sizes: list[int] = []
    for share in stages:
        wanted = math.ceil(round(share * total, 9))
        size = min(total, max(wanted, min(canary_min, total)))
        sizes.append(max(size, sizes[-1] if sizes else 0))
    return sizes


def stage_devices(
    rollout: str, targets: Iterable[Target], stages: Sequence[float], canary_min: int
) -> dict[str, int]:
    """Give each device of the fleet its stage."""
    order = order_devices(rollout, targets)
    sizes = stage_sizes(len(order), stages, canary_min)
    return {
        device: next(
            (stage for stage, size in enumerate(sizes) if position < size),
            len(sizes) - 1,
        )
        for position, device in enumerate(order)
    }


def joining_stage(
    rollout: str, device: str, stages: Sequence[float], current: int
) -> int:
    """Return the stage of a device that appears while a rollout runs.

    It is the one its place in the hash falls into, and never one that is over: the
    evidence of a stage that was judged does not change any more.
    """
    position = place(rollout, device)
    stage = next(
        (stage for stage, share in enumerate(stages) if position < share),
        len(stages) - 1,
    )
    return max(stage, current)


def _round_robin(rollout: str, groups: list[list[str]]) -> list[str]:
    """Take one of each group in turn; groups in the order of their first device."""
    groups = sorted(groups, key=lambda group: (place(rollout, group[0]), group[0]))
    longest = max((len(group) for group in groups), default=0)
    return [
        group[turn] for turn in range(longest) for group in groups if turn < len(group)
    ]
