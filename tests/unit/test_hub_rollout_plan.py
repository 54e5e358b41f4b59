"""Who gets a release when: stable, stratified, and never fewer at a later stage."""

import pytest

from hub.rollout.plan import (
    Target,
    joining_stage,
    order_devices,
    stage_devices,
    stage_sizes,
)

FLEET = [
    Target(
        device=f"d{place}",
        cohort="left" if place % 2 else "right",
        hardware="arm" if place % 4 < 2 else "x86",
    )
    for place in range(8)
]


def test_the_plan_does_not_depend_on_the_order_of_the_fleet() -> None:
    """The same rollout and devices always give the same stages."""
    stages = (0.25, 0.5, 1.0)

    assert stage_devices("r1", FLEET, stages, 1) == stage_devices(
        "r1", reversed(FLEET), stages, 1
    )


def test_two_rollouts_have_different_canaries() -> None:
    """The same devices are not always first to get what is new."""
    orders = {tuple(order_devices(f"r{n}", FLEET)) for n in range(10)}

    assert len(orders) > 5


@pytest.mark.parametrize("rollout", ["r1", "r2", "r3", "r4"])
def test_the_canary_represents_every_cohort_and_hardware_class(rollout: str) -> None:
    """Two devices are one of each cohort; four are one of each class in each."""
    order = order_devices(rollout, FLEET)
    by_name = {target.device: target for target in FLEET}

    assert {by_name[device].cohort for device in order[:2]} == {"left", "right"}
    strata = {(by_name[d].cohort, by_name[d].hardware) for d in order[:4]}
    assert len(strata) == 4


@pytest.mark.parametrize(
    ("total", "canary_min", "expected"),
    [
        (8, 1, [2, 4, 8]),
        (8, 3, [3, 4, 8]),
        (1, 1, [1, 1, 1]),
        (2, 5, [2, 2, 2]),
        (0, 1, [0, 0, 0]),
        (3, 1, [1, 2, 3]),
    ],
)
def test_stage_sizes_are_cumulative(
    total: int, canary_min: int, expected: list[int]
) -> None:
    """Shares are rounded up, the canary has its minimum, the last stage is all."""
    assert stage_sizes(total, (0.25, 0.5, 1.0), canary_min) == expected


def test_a_device_that_joins_late_never_joins_a_stage_that_is_over() -> None:
    """It takes the stage of its hash or the present one, whichever is later."""
    stages = (0.25, 0.5, 1.0)
    joined = {joining_stage("r1", f"new{n}", stages, 1) for n in range(50)}

    assert joined == {1, 2}
