"""The table of a run, its document, and whether every promise was kept."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.mutants.agent import Counts
from tests.mutants.mutate import KINDS
from tests.mutants.plan import Finding

FATES = ("refused", "crashed", "hung", "wrong", "budget", "passed")
HEAD = (
    "| mutation | mutants | unsigned: refused by digest | signed: does not load or run"
    " | crashed | hung | wrong answer | over budget | passed |"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One seed's findings."""

    seed: int
    run_s: float
    findings: Sequence[Finding]
    agent: Counts

    @property
    def promises(self) -> dict[str, int]:
        """What must be zero."""
        unrefused = sum(not f.refused_by_digest for f in self.findings)
        problems = sum(len(f.problems) for f in self.findings)
        return {
            "agent_deaths": self.agent.agent_deaths,
            "worker_deaths": self.agent.worker_deaths
            + sum(f.worker_deaths for f in self.findings),
            "wrong_digests": self.agent.wrong_digests + unrefused,
            "unserved": self.agent.unserved,
            "problems": problems + len(self.agent.problems),
        }

    @property
    def problems(self) -> list[str]:
        """Which promises were broken, and by what."""
        return [
            f"seed {self.seed}, mutant {f.mutant.number} ({f.mutant.kind} of"
            f" {f.mutant.base.name}): {text}"
            for f in self.findings
            for text in f.problems
        ] + self.agent.problems


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the findings by kind of mutation, as Markdown."""
    findings = [f for outcome in outcomes for f in outcome.findings]
    rows = [(kind, [f for f in findings if f.mutant.kind == kind]) for kind in KINDS]
    lines = [HEAD, "|---" * (HEAD.count("|") - 1) + "|"]
    lines += [_row(name, some) for name, some in [*rows, ("all", findings)]]
    return "\n".join(lines)


def _row(name: str, findings: Sequence[Finding]) -> str:
    fates = Counter(f.fate for f in findings)
    refused = sum(f.refused_by_digest for f in findings)
    counts = (len(findings), refused, *(fates[fate] for fate in FATES))
    return f"| {name} | {' | '.join(f'{count:,}' for count in counts)} |"


def as_document(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return all figures."""
    return {
        "ok": all(not any(o.promises.values()) for o in outcomes),
        "runs": [
            {
                "seed": o.seed,
                "mutants": len(o.findings),
                "run_s": round(o.run_s, 1),
                "promises": o.promises,
                "problems": o.problems,
                "kinds": {
                    kind: dict(
                        Counter(f.fate for f in o.findings if f.mutant.kind == kind)
                    )
                    for kind in KINDS
                },
                "refused_by_digest": sum(f.refused_by_digest for f in o.findings),
                "only_forked_died": sum(
                    f.forked not in ("", f.code) for f in o.findings
                ),
                "activated": sum(f.activated for f in o.findings),
                "agent": dict(o.agent.outcomes),
            }
            for o in outcomes
        ],
    }
