"""Write the table and the diagram of the activation phases in ARCHITECTURE.md.

Both are made from ``edge_agent/update/states.py`` and are never edited by hand;
``tests/contract/test_state_table.py`` fails where they are out of date.
"""

import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from edge_agent.update.states import AT_REST, DEADLINES_S, TRANSITIONS, Event, Phase

DOCUMENT = Path(__file__).parents[1] / "ARCHITECTURE.md"
BEGIN, END = "<!-- phases: scripts/make_state_table.py -->", "<!-- end of phases -->"
_EVENTS = (
    Event.OK,
    Event.TRY,
    Event.FAIL,
    Event.TIMEOUT,
    Event.CRASH,
    Event.REVERT,
    Event.ASSIGN,
    Event.RESTART,
)
_LEFT_OUT = frozenset({Event.RESTART, Event.ASSIGN})
"""Events that the diagram would drown in; the table has them."""


def with_phases(text: str) -> str:
    """Return the document with a fresh table and diagram between its markers."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return "\n".join([before + BEGIN, *_table(), "", *_diagram(), END]) + after


def main() -> int:
    """Write both."""
    DOCUMENT.write_text(with_phases(DOCUMENT.read_text("utf-8")), "utf-8")
    return 0


def _table() -> Iterator[str]:
    yield "| phase | at most | " + " | ".join(event.name for event in _EVENTS) + " |"
    yield "|---" * (len(_EVENTS) + 2) + "|"
    for phase in Phase:
        limit = "rests" if phase in AT_REST else f"{DEADLINES_S[phase]:g} s"
        ways = [TRANSITIONS.get((phase, event), "") for event in _EVENTS]
        yield f"| {phase} | {limit} | " + " | ".join(ways) + " |"


def _diagram() -> Iterator[str]:
    yield "```mermaid"
    yield "stateDiagram-v2"
    yield "    [*] --> IDLE"
    ways: dict[tuple[Phase, Phase], list[str]] = defaultdict(list)
    for (phase, event), after in TRANSITIONS.items():
        if event not in _LEFT_OUT or phase in AT_REST:
            ways[phase, after].append(event.name)
    for (phase, after), events in ways.items():
        yield f"    {phase} --> {after}: {', '.join(events)}"
    yield "```"


if __name__ == "__main__":
    sys.exit(main())
