"""Truth against the hub's database, and the table of it."""

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_agent.wire.batch import decode_record
from tests.torture.device import name_of

MAX_REDELIVERED = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What one run left behind.

    ``committed`` is the truth, ``stored_amid_kills`` the rows that came while there
    were kills (a run in which all came after them would prove little), ``lost`` what
    of the truth the hub has not, ``duplicates`` rows whose content the hub has under
    another number too, ``redelivered`` rows that came when they were there already.
    """

    committed: int
    stored: int
    stored_amid_kills: int
    lost: int
    duplicates: int
    redelivered: int
    evicted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One run: what was done, and what came of it."""

    seed: int
    persistence: bool
    agent_kills: int
    hub_kills: int
    broker_kills: int
    counts: Counts
    run_s: float
    drain_s: float

    @property
    def ok(self) -> bool:
        """Whether the run keeps what the outbox promises."""
        counts = self.counts
        return counts.lost == counts.duplicates == counts.evicted == 0


def compare(truth: Sequence[Path], database: Path, quiet_at: float) -> Counts:
    """Count what of the truth the database holds, how often, and what came again.

    ``quiet_at`` is the time of the last kill.
    """
    committed = {name for path in truth for name in _names(path)}
    conn = sqlite3.connect(database)
    try:
        rows = conn.execute("SELECT body FROM records")
        stored = Counter(name_of(decode_record(body.encode())) for (body,) in rows)
        (amid,) = conn.execute(
            "SELECT COUNT(*) FROM records WHERE received_at < ?", (quiet_at,)
        ).fetchone()
        again, evicted = conn.execute(
            "SELECT COALESCE(SUM(redelivered), 0), COALESCE(SUM(evicted), 0)"
            " FROM streams"
        ).fetchone()
    finally:
        conn.close()
    return Counts(
        committed=len(committed),
        stored=stored.total(),
        stored_amid_kills=amid,
        lost=len(committed - stored.keys()),
        duplicates=stored.total() - len(stored),
        redelivered=again,
        evicted=evicted,
    )


def _names(path: Path) -> Iterator[str]:
    """Yield the names in a truth file; a last line that was cut counts for nothing."""
    lines = path.read_text("ascii").split("\n") if path.exists() else [""]
    yield from lines[:-1]


def redelivered_share(outcomes: Sequence[Outcome]) -> float:
    """Return the rows that came again as a share of the rows stored."""
    stored = sum(outcome.counts.stored for outcome in outcomes)
    again = sum(outcome.counts.redelivered for outcome in outcomes)
    return again / stored if stored else 0.0


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the outcomes and their total as a Markdown table."""
    titles = "seed|broker keeps|kills (agent / hub / broker)|committed|lost"
    cells = [*titles.split("|"), "duplicates", "redelivered"]
    head = [f"| {' | '.join(cells)} |", "|---" * len(cells) + "|"]
    rows = [_row(str(o.seed), "yes" if o.persistence else "no", [o]) for o in outcomes]
    return "\n".join([*head, *rows, _row("all", "", outcomes)])


def _row(seed: str, keeps: str, outcomes: Sequence[Outcome]) -> str:
    parts = [
        sum(o.agent_kills for o in outcomes),
        sum(o.hub_kills for o in outcomes),
        sum(o.broker_kills for o in outcomes),
    ]
    kills = f"{sum(parts)} ({' / '.join(map(str, parts))})"
    committed = sum(o.counts.committed for o in outcomes)
    lost = sum(o.counts.lost for o in outcomes)
    twice = sum(o.counts.duplicates for o in outcomes)
    share = redelivered_share(outcomes)
    return (
        f"| {seed} | {keeps} | {kills} | {committed:,} | {lost} | {twice}"
        f" | {share:.2%} |"
    )


def as_document(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return everything for a JSON file; what came again is judged in total."""
    share = redelivered_share(outcomes)
    return {
        "ok": all(outcome.ok for outcome in outcomes) and share < MAX_REDELIVERED,
        "redelivered_ratio": share,
        "runs": [asdict(outcome) | {"ok": outcome.ok} for outcome in outcomes],
    }
