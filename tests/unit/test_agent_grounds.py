"""What a commit rests on: nothing passes for evidence that is none."""

import msgspec
import pytest

from edge_agent.store.slots import Slots
from edge_agent.update.grounds import Grounds, weigh
from edge_agent.wire.records import PairedSummary


def paired(result: str = "ok", reason: str = "256 samples") -> PairedSummary:
    """Return what a paired test found."""
    return PairedSummary(
        release=2, incumbent=1, result=result, source="ring", reason=reason
    )


@pytest.mark.parametrize(
    ("grounds", "evidence", "text"),
    [
        (
            Grounds(paired=paired(), first=False, answered=60, wanted=60),
            "conclusive",
            "paired test: 256 samples; 60 of 60 predictions",
        ),
        (
            Grounds(paired=paired(), first=False, answered=12, wanted=60),
            "inconclusive",
            "12 of 60 predictions",
        ),
        (
            Grounds(
                paired=paired("inconclusive", "12 of 64 samples"),
                first=False,
                answered=12,
                wanted=60,
            ),
            "inconclusive",
            "paired test: 12 of 64 samples; 12 of 60 predictions",
        ),
        (
            Grounds(paired=None, first=True, answered=0, wanted=60),
            "untested",
            "0 of 60 predictions",
        ),
        (
            Grounds(paired=None, first=True, answered=1, wanted=60),
            "conclusive",
            "1 of 60 predictions",
        ),
        (Grounds(paired=None, first=False, answered=99, wanted=60), "", "99 of"),
    ],
    ids=["both", "quiet", "neither", "first, silent", "first", "not asked for"],
)
def test_evidence_and_its_numbers(grounds: Grounds, evidence: str, text: str) -> None:
    """Conclusive needs both halves; what is missing is named with its numbers."""
    found, detail = weigh(grounds)

    assert found == evidence
    assert detail.startswith(text)


class OldSlots(msgspec.Struct, frozen=True):
    """The row as an older agent reads it."""

    active: int = 0
    seq: int = 0


def test_rows_are_read_across_versions() -> None:
    """An older row lacks what is new, and an older agent passes over it."""
    new = Slots(active=2, seq=5, paired=paired(), evidence="untested", answered=3)
    body = msgspec.json.encode(new)

    assert msgspec.json.decode(body, type=Slots) == new
    assert msgspec.json.decode(body, type=OldSlots) == OldSlots(2, 5)
    old = msgspec.json.decode(b'{"active":2,"seq":5}', type=Slots)
    assert (old.paired, old.evidence, old.answered) == (None, "", 0)
