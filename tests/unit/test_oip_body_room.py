"""The memory of large bodies, which one request leaves to the next."""

import sys
import threading

import numpy as np

from edge_agent.serve.oip.body_room import KEPT_BYTES, BodyRoom


def test_what_nobody_holds_is_given_out_again() -> None:
    """Smaller and larger bodies get the block of the one before, in their own size."""
    room = BodyRoom()
    first = room.take(100_000)
    where = id(first)
    del first

    for size in (100_000, 60_000, 90_000, 1, 0, KEPT_BYTES):
        body = room.take(size)
        assert id(body) == where
        assert len(body) == size
        del body


def test_what_somebody_holds_is_left_to_him() -> None:
    """The bytes themselves, a view of them and an array over a view all count."""
    room = BodyRoom()
    body = room.take(8)
    body[:] = b"\1" * 8
    other = room.take(8)
    assert other is not body

    array = np.frombuffer(memoryview(other)[4:], np.uint8)
    other[:] = b"\2" * 8
    del other
    third = room.take(8)
    third[:] = b"\3" * 8

    assert bytes(body) == b"\1" * 8
    assert array.tolist() == [2] * 4


def test_a_very_large_body_leaves_nothing_behind() -> None:
    """Its memory is its own, and the kept block stays what it was."""
    room = BodyRoom()
    where = id(room.take(10))

    large = room.take(KEPT_BYTES + 1)

    assert len(large) == KEPT_BYTES + 1
    assert sys.getrefcount(large) == 2
    assert id(room.take(10)) == where


def test_threads_never_share_a_block() -> None:
    """Each finds in its block what it wrote, whoever asks meanwhile."""
    room, wrong = BodyRoom(), []

    def use(mark: int) -> None:
        for size in range(1000, 1400):
            body = room.take(size)
            body[:] = bytes([mark]) * size
            if body.count(mark) != size:
                wrong.append((mark, size))

    threads = [threading.Thread(target=use, args=(mark,)) for mark in range(1, 5)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    finally:
        sys.setswitchinterval(before)
    assert not wrong
