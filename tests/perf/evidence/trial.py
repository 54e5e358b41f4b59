"""One device: a stretch of its stream, two releases, and what each rule says.

The device has met ``age`` samples when the candidate comes. Of these its ring holds 256
spread evenly over the time (a reservoir; all, if there are fewer); the next 60 are the
candidate's first live ones for the rule as it was.
"""

from dataclasses import dataclass

import numpy as np

from edge_agent.evidence.judge import Result
from tests.perf.evidence import rules
from tests.perf.evidence.candidates import Recipe
from tests.perf.evidence.rules import Answers, Doubles, Places, Profile
from tests.perf.evidence.streams import Order, Source

RING = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A release on a source: its probabilities of every row, and its profile."""

    probabilities: Doubles
    profile: Profile
    recipe: Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What the rules said of ``n`` pairs; ``code`` is the paired rule's, ``blind``
    whether it passed where there was nothing to tell by.
    """  # noqa: D205 - the summary is one sentence

    paired: Result
    code: str
    n: int
    blind: bool
    old: str
    histogram: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When a device is asked: its order of samples and how many it has met."""

    order: Order
    age: int


def try_release(
    source: Source,
    releases: tuple[Release, Release],
    moment: Moment,
    rng: np.random.Generator,
) -> Trial:
    """Judge a candidate (the second release) on one device at one moment."""
    incumbent, candidate = releases
    rows = moment.order(source, moment.age + rules.LIVE, rng)
    ring = choose_ring(len(rows) - rules.LIVE, rng)
    one = incumbent.recipe(incumbent.probabilities[rows], rng)
    other = candidate.recipe(candidate.probabilities[rows], rng)
    figures, verdict = rules.judge_pairs(
        one.at(ring), other.at(ring), ring, (incumbent.profile, candidate.profile)
    )
    before, now = _live(one, other)
    policy, counts = rules.POLICY, candidate.profile.counts
    told = figures.n >= policy.min_samples and (figures.entropy or 0) >= (
        policy.entropy_min
    )
    return Trial(
        paired=verdict.result,
        code=verdict.code,
        n=len(ring),
        blind=verdict.result is Result.OK and not told,
        old=rules.breaches_old_rule(before, now, counts),
        histogram=rules.breaches_histogram_rule(before, now, len(counts)),
    )


def choose_ring(age: int, rng: np.random.Generator) -> Places:
    """Return which of ``age`` samples a reservoir holds, oldest first."""
    if age <= RING:
        return np.arange(age)
    return np.sort(rng.choice(age, RING, replace=False))


def _live(one: Answers, other: Answers) -> tuple[Answers, Answers]:
    end = len(one.index) - rules.LIVE
    return one.at(slice(max(end - rules.BASELINE, 0), end)), other.at(slice(end, None))
