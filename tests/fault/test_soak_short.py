"""A worker's memory over many requests: the short form of ``scripts/torture``."""

from pathlib import Path

from tests.soak.run import FIFTH, MARKS, Outcome, soak

REQUESTS = 60_000
"""A fifth of them fills what keeps the latest 8,192."""
LEAK_KIB = 1024
"""What 30 bytes a request would add; 200 KiB are what the allocator takes to settle."""


def test_memory_is_flat_after_the_warm_up(tmp_path: Path) -> None:
    """What a worker keeps of requests is bounded, and soon full."""
    outcome = soak(tmp_path, REQUESTS)
    assert len(outcome.rss_kib) == MARKS
    assert outcome.grown_kib < LEAK_KIB, outcome.rss_kib


def test_a_leak_is_growth() -> None:
    """A little more at every mark is found; what comes and goes is not."""
    steady = [50_000 + 400 * (mark % 3) for mark in range(MARKS)]
    leaking = [rss + 10 * mark for mark, rss in enumerate(steady)]
    kinds = [Outcome(framed=10**6, http=0, rss_kib=rss) for rss in (steady, leaking)]
    assert [one.grown_kib for one in kinds] == [0, 10 * 3 * FIFTH]
    assert [one.leaks for one in kinds] == [False, True]
