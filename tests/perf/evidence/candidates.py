"""Broken releases: what is made of the answers of a good one, with a fixed seed.

A recipe takes class probabilities ``(n, classes)`` of samples in the order of the
stream, and a generator; it returns the answers. *Garbage* must be stopped. *Blind
spots* are what no rule without labels can find.
"""

from collections.abc import Callable, Mapping

import numpy as np

from tests.perf.evidence.rules import Answers, Doubles, Flags, of_probabilities

BURST = 10

Recipe = Callable[[Doubles, np.random.Generator], Answers]


def as_it_is(probabilities: Doubles, rng: np.random.Generator) -> Answers:
    """Return a good release's own answers."""
    return of_probabilities(probabilities)


def constant(probabilities: Doubles, rng: np.random.Generator) -> Answers:
    """Return the same confident class for every sample."""
    good = of_probabilities(probabilities)
    index = np.full_like(good.index, rng.integers(probabilities.shape[1]))
    return Answers(index=index, confidence=good.confidence, failed=good.failed)


def random_class(probabilities: Doubles, rng: np.random.Generator) -> Answers:
    """Return any class, as confidently as the good release."""
    return _drawn(probabilities, rng, probabilities.shape[1])


def two_random(probabilities: Doubles, rng: np.random.Generator) -> Answers:
    """Return one of two classes, whatever the sample is."""
    return _drawn(probabilities, rng, 2)


def two_classes(probabilities: Doubles, rng: np.random.Generator) -> Answers:
    """Return the likelier of two classes: the others were lost in training."""
    kept = rng.choice(probabilities.shape[1], 2, replace=False)
    rest = np.zeros_like(probabilities)
    rest[:, kept] = probabilities[:, kept] + 1e-9
    return of_probabilities(rest / rest.sum(axis=1, keepdims=True))


def failing(share: float, burst: int = 1) -> Recipe:
    """Return a recipe that fails on ``share`` of samples, ``burst`` in a row."""

    def recipe(probabilities: Doubles, rng: np.random.Generator) -> Answers:
        good = of_probabilities(probabilities)
        return good.failing(_failures(len(probabilities), share, burst, rng))

    return recipe


def swapped(probabilities: Doubles, rng: np.random.Generator) -> Answers:
    """Return classes under each other's names."""
    places = np.roll(np.arange(probabilities.shape[1]), 1)
    return of_probabilities(probabilities[:, places])


def ten_points_worse(probabilities: Doubles, rng: np.random.Generator) -> Answers:
    """Return another class for a tenth of the samples."""
    good = of_probabilities(probabilities)
    other = rng.integers(1, probabilities.shape[1], len(probabilities))
    wrong = (good.index + other) % probabilities.shape[1]
    index = np.where(rng.random(len(probabilities)) < 0.1, wrong, good.index)
    return Answers(index=index, confidence=good.confidence, failed=good.failed)


GARBAGE: Mapping[str, Recipe] = {
    "constant class": constant,
    "random class": random_class,
    "random of two classes": two_random,
}
FAILING: Mapping[str, Recipe] = {
    "NaN on 5 %": failing(0.05),
    "errors on 5 %, bursts of 10": failing(0.05, BURST),
    "errors on 1 %": failing(0.01),
    "errors on 1 %, bursts of 10": failing(0.01, BURST),
}
BLIND: Mapping[str, Recipe] = {
    "swapped classes": swapped,
    "10 points worse": ten_points_worse,
}


def _drawn(probabilities: Doubles, rng: np.random.Generator, count: int) -> Answers:
    good = of_probabilities(probabilities)
    kept = rng.choice(probabilities.shape[1], count, replace=False)
    index = kept[rng.integers(count, size=len(probabilities))]
    return Answers(index=index, confidence=good.confidence, failed=good.failed)


def _failures(n: int, share: float, burst: int, rng: np.random.Generator) -> Flags:
    starts = np.flatnonzero(rng.random(n) < share / burst)
    failed = np.zeros(n, bool)
    for place in range(burst):
        failed[np.minimum(starts + place, n - 1)] = True
    return failed
