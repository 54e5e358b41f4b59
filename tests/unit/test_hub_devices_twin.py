"""Which of two twins is news, and what the inbox keeps."""

import pytest

from edge_agent.wire import codec
from edge_agent.wire.control import Presence, Reported
from edge_agent.wire.topics import Address, Leaf
from hub.devices.inbox import MAX_BOOTS, Inbox
from hub.devices.receiver import is_newer

OLD, NEW = "00000000000000aa", "00000000000000bb"


def twin(boot: str, version: int) -> Reported:
    """Return a twin of one boot and version."""
    return Reported(device="d1", boot=boot, version=version, at=1.0, release=1)


@pytest.mark.parametrize(
    ("new", "stored", "present", "expected"),
    [
        (twin(NEW, 2), twin(NEW, 1), NEW, True),
        (twin(NEW, 1), twin(NEW, 2), NEW, False),
        (twin(NEW, 1), twin(OLD, 9), NEW, True),
        (twin(OLD, 9), twin(NEW, 1), NEW, False),
        (twin(NEW, 1), twin(OLD, 9), OLD, False),
    ],
)
def test_versions_order_a_boot_and_presence_orders_boots(
    new: Reported, stored: Reported, present: str, *, expected: bool
) -> None:
    """An old boot's twin never replaces one of the boot that is present."""
    assert is_newer(new, stored, present) is expected


def test_the_inbox_keeps_the_newest_of_each_boot_in_order() -> None:
    """Versions of one boot are merged; those of two boots both arrive."""
    inbox = Inbox()
    address = Address("d1", Leaf.REPORTED)
    for message in (twin(OLD, 1), twin(NEW, 1), twin(OLD, 2)):
        inbox.put(address, codec.encode(message))

    assert inbox.take() == [twin(NEW, 1), twin(OLD, 2)]
    assert inbox.take() == []


def test_a_flood_of_boots_leaves_the_newest_ones_and_everybody_else() -> None:
    """Thousands of births between two ticks cost what a handful does."""
    inbox = Inbox()
    other = Reported(device="d2", boot=OLD, version=1, at=1.0, release=1)
    inbox.put(Address("d2", Leaf.REPORTED), codec.encode(other))
    for number in range(2000):
        message = codec.encode(twin(f"{number:016x}", 1))
        inbox.put(Address("d1", Leaf.REPORTED), message)

    taken = inbox.take()
    newest = [f"{number:016x}" for number in range(2000 - MAX_BOOTS, 2000)]
    assert taken[0] == other
    assert [message.boot for message in taken[1:]] == newest
    inbox.put_back(taken)
    assert inbox.take() == taken


def test_the_inbox_drops_what_is_not_valid() -> None:
    """Damaged messages and those that speak for another device are not kept."""
    inbox = Inbox()
    presence = Presence(device="d2", boot=OLD, online=True, at=1.0)
    inbox.put(Address("d1", Leaf.PRESENCE), b"{")
    inbox.put(Address("d1", Leaf.PRESENCE), codec.encode(presence))
    inbox.put(Address("d1", Leaf.CMD), b"{}")

    assert inbox.take() == []
