"""Budgets, turns and pauses of devices: the arithmetic behind a fair ingest."""

from collections import Counter

import pytest

from edge_agent.wire import topics
from hub.config import IngestConfig
from hub.ingest.budget import BURST_S, DEBT_S, MESSAGE_ROWS, Budgets, Cost
from hub.ingest.fair_queue import FairQueue
from hub.ingest.hearing import DEAF_S, FLOOD_ARRIVED, FLOOD_REFUSED, Hearing
from hub.ingest.window import MAX_HELD, MAX_HELD_A_DEVICE, PubackWindow
from hub.listening import PART, Listening


def test_a_device_pays_for_its_dearest_part() -> None:
    """Bytes, rows and decoding time are each priced against their rate."""
    config = IngestConfig(
        device_bytes_per_s=1024, device_rows_per_s=100, device_decode_share=0.5
    )
    budgets = Budgets(config)

    assert budgets.price(Cost(size=4096)) == 4.0
    assert budgets.price(Cost(rows=200 - MESSAGE_ROWS)) == 2.0
    assert budgets.price(Cost(seconds=3.0)) == 6.0


def test_who_is_in_debt_is_not_listened_to_until_it_has_been_quiet() -> None:
    """Debts are bounded, so silence of a known length ends them; nobody else pays."""
    budgets = Budgets(IngestConfig())
    budgets.charge("a", 10 * BURST_S, 100.0)

    assert not budgets.allows("a", 100.0)
    assert not budgets.allows("a", 100.0 + DEBT_S)
    assert budgets.allows("a", 100.1 + DEBT_S)
    assert budgets.allows("b", 100.0)


def test_the_outbox_of_a_device_that_was_away_is_within_the_budget() -> None:
    """All that our agent may hold, 34 MiB of records of 450 bytes, comes at once."""
    budgets = Budgets(IngestConfig())
    held = 34 << 20
    records, batch = held // 450, 64
    cost = Cost(size=held // 4 // (records // batch), rows=batch, seconds=64 * 20e-6)

    for _ in range(records // batch):
        assert budgets.allows("a", 0.0)
        budgets.charge("a", budgets.price(cost), 0.0)


def test_the_device_that_cost_least_is_next_and_its_own_order_holds() -> None:
    """One dear message of a device lets many cheap ones of another pass."""
    queue: FairQueue[int] = FairQueue(100)
    for number in range(3):
        queue.put("dear", number, 1)
        queue.put("cheap", number, 1)
    order = []
    while found := queue.take(0.0):
        order.append(found)
        queue.charge(found[0], 10.0 if found[0] == "dear" else 1.0)

    assert order[:2] == [("cheap", 0), ("dear", 0)]
    assert order[2:4] == [("cheap", 1), ("cheap", 2)]
    assert [n for device, n in order if device == "dear"] == [0, 1, 2]


def test_who_was_idle_starts_level_with_the_others() -> None:
    """It saves up no claim: after its turn it is the other's again."""
    queue: FairQueue[int] = FairQueue(100)
    for number in range(50):
        queue.put("busy", number, 1)
    for _ in range(40):
        assert queue.take(0.0) is not None
        queue.charge("busy", 1.0)
    for number in range(5):
        queue.put("late", number, 1)

    turns = []
    for _ in range(6):
        found = queue.take(0.0)
        assert found is not None
        turns.append(found[0])
        queue.charge(found[0], 1.0)
    assert Counter(turns)["busy"] >= 2


@pytest.mark.parametrize(("messages", "size"), [(4, 1 << 20), (1000, 5000)])
def test_a_full_queue_drops_the_newest_of_who_fills_it(
    messages: int, size: int
) -> None:
    """In messages or in bytes: who comes with little is taken."""
    queue: FairQueue[str] = FairQueue(messages, size)
    assert queue.put("flood", "f1", 1000) == []
    assert queue.put("flood", "f2", 1000) == []
    dropped = queue.put("flood", "f3", 1000) + queue.put("flood", "f4", 1000)
    dropped += queue.put("honest", "h1", 10)

    left = []
    while found := queue.take(0.0):
        left.append(found[1])
    assert sorted([*left, *dropped]) == ["f1", "f2", "f3", "f4", "h1"]
    assert "h1" in left
    assert [one for one in left if one != "h1"] == ["f1", "f2", "f3"][: len(left) - 1]


def test_the_brokers_window_never_fills() -> None:
    """Beyond a device's part, and beyond half of it all, a PUBACK goes out at once."""
    window, sent = PubackWindow(), Counter[str]()

    def hold(device: str) -> None:
        release = window.hold(device, lambda: sent.update([device]))
        held.append(release)

    held: list[object] = []
    for _ in range(MAX_HELD_A_DEVICE + 3):
        hold("a")
    assert sent["a"] == 3
    for number in range(MAX_HELD):
        hold(f"d{number}")
    assert sent.total() == 3 + MAX_HELD_A_DEVICE


def test_a_flood_is_left_out_for_longer_each_time() -> None:
    """Many refusals, or more messages than can be honest; a few are no flood."""
    hearing = Hearing()
    assert not hearing.look({"a": 90}, {"a": FLOOD_REFUSED - 1}, 0.0)
    assert hearing.look({"a": 200}, {"a": FLOOD_REFUSED}, 1.0)
    assert hearing.look({"b": FLOOD_ARRIVED}, {}, 1.0)
    assert hearing.deaf_to == {"a", "b"}

    assert hearing.look({}, {}, 1.0 + DEAF_S)
    assert hearing.deaf_to == frozenset()
    assert hearing.look({"a": 200}, {"a": FLOOD_REFUSED}, 2.0 + DEAF_S)
    assert not hearing.look({}, {}, 2.0 + 2.5 * DEAF_S)
    assert hearing.look({}, {}, 2.0 + 3 * DEAF_S)


def test_one_filter_becomes_one_for_each_of_the_others_and_back() -> None:
    """New subscriptions are made before the old one goes, in bounded packets."""
    listening = Listening()
    assert listening.present() == [[topics.any_up()]]
    names = [f"d{number}" for number in range(PART + 1)]

    wanted, unwanted = listening.change(names)
    assert [len(part) for part in wanted] == [PART, 1]
    assert unwanted == [[topics.any_up()]]
    assert listening.absent() == [[topics.any_up()]]
    assert listening.change([*names, "new"])[0] == [[topics.any_up_of("new")]]

    wanted, unwanted = listening.change(None)
    assert wanted == [[topics.any_up()]]
    assert sum(map(len, unwanted)) == PART + 2
    assert listening.absent() == []
