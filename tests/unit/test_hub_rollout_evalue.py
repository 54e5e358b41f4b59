"""The e-value against figures computed by hand and against Ville's bound."""

import random

import pytest

from hub.rollout.evalue import P0, evalue, threshold

SEED = 20


def test_no_device_is_no_evidence() -> None:
    """Before anything is known it is 1."""
    assert evalue(0, 0) == pytest.approx(1.0)


def test_one_failure_of_one_is_the_mean_ratio() -> None:
    """The alternatives are 5 to 80 %, their mean 42.5 %; by 1 % that is 42.5."""
    assert evalue(1, 1) == pytest.approx(42.5)


def test_two_failures_of_two_are_the_mean_of_the_squares() -> None:
    """The sum of k^2 for 1 to 16 is 1,496: a mean of 0.23375, by 0.0001."""
    assert evalue(2, 2) == pytest.approx(1496 / 16 / 400 / P0**2)


def test_successes_never_speak_against_a_release() -> None:
    """However large the fleet: the mixture is one-sided."""
    values = [evalue(0, n) for n in range(0, 5000, 50)]

    assert values == sorted(values, reverse=True)
    assert evalue(5, 1000) < 1.0


def test_a_fleet_that_fails_altogether_has_a_value() -> None:
    """Ten thousand failures are more than a float holds as a ratio."""
    assert evalue(10_000, 10_000) > threshold(100)


def test_the_error_is_within_villes_bound_however_often_one_looks() -> None:
    """At a failure ratio of 1 % it crosses 100 in at most 1 % of sequences."""
    draw = random.Random(SEED)
    crossed = 0
    for _ in range(1500):
        failures = 0
        for n in range(1, 201):
            if draw.random() < P0:
                failures += 1
                if evalue(failures, n) >= threshold():
                    crossed += 1
                    break

    assert crossed / 1500 <= 0.01, f"seed {SEED}"
