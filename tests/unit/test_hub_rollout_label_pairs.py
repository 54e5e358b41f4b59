"""Losses of accuracy by labels on the same samples."""

import numpy as np
import pytest

from hub.rollout.label_pairs import (
    DeviceLoss,
    LossBounds,
    autocorrelation_time,
    bound_loss,
    measure_loss,
    student_quantile,
)

SEED = 21


def series(draw: np.random.Generator, n: int, loss: float, episode: int) -> list[int]:
    """Return pairs that differ on 20 % of samples, alike for ``episode`` on end."""
    lost, gained = (0.2 + loss) / 2, (0.2 - loss) / 2
    count = n // episode + 1
    kinds = draw.choice([1, -1, 0], size=count, p=[lost, gained, 0.8])
    return [int(one) for one in np.repeat(kinds, episode)[:n]]


def fleet(draw: np.random.Generator, n: int, loss: float, episode: int) -> LossBounds:
    """Return the bounds over eight devices."""
    devices = [
        measure_loss(f"d{one}", series(draw, n, loss, episode)) for one in range(8)
    ]
    bounds = bound_loss(devices, 0.05)
    assert bounds is not None
    return bounds


@pytest.mark.parametrize(
    ("degrees", "exact"),
    [(3, 2.3534), (4, 2.1318), (7, 1.8946), (10, 1.8125), (30, 1.6973)],
)
def test_student_quantiles(degrees: int, exact: float) -> None:
    """As in any table, to 0.3 %."""
    assert student_quantile(degrees) == pytest.approx(exact, rel=0.003)


def test_student_quantiles_further_out() -> None:
    """At 99 %, to 2 %."""
    for degrees, exact in ((3, 4.541), (7, 2.998), (30, 2.457)):
        assert student_quantile(degrees, 2.3263) == pytest.approx(exact, rel=0.02)


@pytest.mark.parametrize(("rho", "exact"), [(0.0, 1.0), (0.5, 3.0), (0.8, 9.0)])
def test_the_autocorrelation_time_of_a_known_process(rho: float, exact: float) -> None:
    """That of a first-order process is (1 + rho) / (1 - rho)."""
    draw = np.random.default_rng(SEED)
    values = draw.standard_normal(20_000)
    for place in range(1, len(values)):
        values[place] += rho * values[place - 1]

    assert autocorrelation_time(values) == pytest.approx(exact, rel=0.2)


def test_a_constant_series_has_no_error() -> None:
    """Two releases that never differ are equal for certain."""
    found = measure_loss("d", [0] * 200)

    assert (found.loss, found.error, found.tau, found.blocks) == (0.0, 0.0, 1.0, 100)
    assert not measure_loss("d", []).decides


@pytest.mark.parametrize("episode", [1, 10])
def test_ten_points_are_never_promoted_and_equal_releases_not_aborted(
    episode: int,
) -> None:
    """At 8 x 300 labels, also where they are right or wrong in runs of ten."""
    draw = np.random.default_rng(SEED)
    worse = [fleet(draw, 300, 0.10, episode) for _ in range(100)]
    equal = [fleet(draw, 300, 0.0, episode) for _ in range(100)]

    assert sum(one.upper < 0.05 for one in worse) <= 1, f"seed {SEED}"
    assert sum(one.lower > 0.03 for one in equal) <= 1, f"seed {SEED}"


def test_a_sure_gain_is_no_uncertainty_about_a_loss() -> None:
    """A repair of half the fleet, however uncertain its size, has a small bound."""
    gains = [
        DeviceLoss(device=f"g{n}", n=300, blocks=9, loss=-0.45, error=0.15)
        for n in range(4)
    ]
    equal = [
        DeviceLoss(device=f"e{n}", n=300, blocks=9, loss=0.0, error=0.02)
        for n in range(4)
    ]
    bounds = bound_loss(gains + equal, 0.05)

    assert bounds is not None
    assert bounds.upper < 0.0


def test_labels_in_runs_hold_less_evidence() -> None:
    """The error follows the autocorrelation, not an assumed factor."""
    draw = np.random.default_rng(SEED)
    single = measure_loss("d", series(draw, 1000, 0.0, 1))
    runs = measure_loss("d", series(draw, 1000, 0.0, 20))

    assert runs.error > 2 * single.error, f"seed {SEED}"
