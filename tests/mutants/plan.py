"""Which mutants a run makes, and what it finds out about each."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from edge_agent.update.selftest import HUNG, WRONG
from tests.fakes.model_base import Base
from tests.mutants.mutate import KINDS, STRUCTURAL, mutate

CRASHED = "AGENT-UPDATE-040"
BUDGET = ("AGENT-UPDATE-042", "AGENT-UPDATE-045")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One mutated file."""

    seed: int
    number: int
    kind: str
    base: Base
    data: bytes = field(repr=False)

    @property
    def is_structural(self) -> bool:
        """Whether the file's own format is kept."""
        return self.kind in STRUCTURAL


def draw(seed: int, number: int, bases: Sequence[Base]) -> Mutant:
    """Return mutant ``number`` of a seed: always the same one."""
    dice = random.Random(f"{seed} {number}")
    base, other = dice.choice(bases), dice.choice(bases)
    kind = KINDS[number % len(KINDS)]
    data = mutate(dice, kind, base.data, other.data)
    return Mutant(seed=seed, number=number, kind=kind, base=base, data=data)


@dataclass(slots=True, kw_only=True)
class Finding:
    """What became of one mutant on a device.

    ``code`` and ``detail`` are the self-test's (empty: it passed), of a fresh process
    wherever a forked one died or hung; ``forked`` is what the latter's was.
    ``problems`` are broken promises: any is a failure of the run.
    """

    mutant: Mutant
    refused_by_digest: bool = False
    code: str = ""
    detail: str = ""
    forked: str = ""
    activated: bool = False
    worker_deaths: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def fate(self) -> str:
        """In one word, for the table."""
        if self.code == CRASHED:
            return "crashed"
        if self.code == HUNG:
            return "hung"
        if self.code == WRONG:
            return "wrong"
        if self.code in BUDGET:
            return "budget"
        return "refused" if self.code else "passed"
