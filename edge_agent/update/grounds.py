"""What the commit of a release rests on: a pure decision.

``conclusive`` is said only where the paired test found the release as good as the one
before on this device's own samples *and* enough live predictions were answered. A first
release has nothing to be compared with: it passed its self-test, and counts once it
answers here. Everything else is ``inconclusive``, with what was missing, and is settled
later where that is possible (:mod:`~edge_agent.update.late_evidence`).
"""

from dataclasses import dataclass

from edge_agent.evidence.judge import Result
from edge_agent.wire.records import PairedSummary

CONCLUSIVE = "conclusive"
INCONCLUSIVE = "inconclusive"
UNTESTED = "untested"
FAILED = "failed"
OPEN = frozenset({INCONCLUSIVE, UNTESTED})
"""What later samples may settle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounds:
    """What is known of an active release.

    ``paired`` is what the paired test found (``None``: it was not asked for), ``first``
    whether there was no release before, ``answered`` its live predictions, of
    ``wanted``.
    """

    paired: PairedSummary | None
    first: bool
    answered: int
    wanted: int


def weigh(grounds: Grounds) -> tuple[str, str]:
    """Return the evidence ("": none was asked for), and its numbers in words."""
    counted = f"{grounds.answered} of {grounds.wanted} predictions"
    paired = grounds.paired
    if paired is None:
        if not grounds.first:
            return "", counted
        return (CONCLUSIVE, counted) if grounds.answered else (UNTESTED, counted)
    tested = f"paired test: {paired.reason}"
    missing = []
    if paired.result != Result.OK:
        missing.append(tested)
    if grounds.answered < grounds.wanted:
        missing.append(counted)
    if missing:
        return INCONCLUSIVE, "; ".join(missing)
    return CONCLUSIVE, f"{tested}; {counted}"
