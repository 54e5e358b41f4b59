"""The watermark rule under any loss, order and repetition of batches."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.wire.batch import BatchHeader
from edge_agent.wire.topics import Lane
from hub.ingest.dedupe import advance

BOOT = "0123456789abcdef"


def header(base: int, lo: int, hi: int) -> BatchHeader:
    """Make the header of a batch."""
    return BatchHeader(
        boot=BOOT, lane=Lane.METRIC, base=base, lo=lo, hi=hi, wall_at=0.0, mono_s=0.0
    )


@dataclass
class Device:
    """A device's stream: what it holds, what it gave up, what is on the way."""

    newest: int = 0
    base: int = 0
    evicted: set[int] = field(default_factory=set)
    on_the_way: list[BatchHeader] = field(default_factory=list)


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["append", "send", "ask", "deliver", "lose", "evict"]),
        st.integers(0, 7),
        st.integers(1, 5),
    ),
    max_size=60,
)


@given(ACTIONS)
def test_what_is_acknowledged_is_committed_or_evicted(
    actions: list[tuple[str, int, int]],
) -> None:
    """However batches are lost, repeated and reordered, no ack covers a hole."""
    device, watermark, committed = Device(), 0, set[int]()
    for action, place, size in actions:
        if action == "append":
            device.newest += size
        elif action == "send" and device.base < device.newest:
            lo = min(device.base + 1 + place, device.newest)
            hi = min(lo + size - 1, device.newest)
            device.on_the_way.append(header(device.base, lo, hi))
        elif action == "ask" and device.base < device.newest:
            question = header(device.base, device.newest + 1, device.newest)
            device.on_the_way.append(question)
        elif action == "evict" and device.base < device.newest:
            device.base += 1
            device.evicted.add(device.base)
        elif action == "lose" and device.on_the_way:
            device.on_the_way.pop(place % len(device.on_the_way))
        elif action == "deliver" and device.on_the_way:
            batch = device.on_the_way[place % len(device.on_the_way)]
            committed |= set(range(batch.lo, batch.hi + 1))
            new = advance(watermark, batch)
            assert new.watermark >= watermark
            assert not new.gap or batch.lo > new.watermark + 1
            watermark = new.watermark
            held = set(range(1, watermark + 1)) - committed - device.evicted
            assert held == set()
            device.base = max(device.base, watermark)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 50), st.integers(0, 9))
def test_a_batch_that_comes_twice_changes_nothing(
    watermark: int, base: int, lo: int, more: int
) -> None:
    """Applying a batch again gives the same watermark and the same answer."""
    batch = header(base, lo, lo + more)
    once = advance(watermark, batch)

    assert advance(once.watermark, batch) == once
