"""Which blocks a device asks for: a bounded window, again when nothing comes."""

from edge_agent.update.blocks import ASK_AGAIN_S, GIVE_UP_S, WINDOW, BlockWindow
from edge_agent.wire.block import BLOCK_BYTES, BlockHeader

TOTAL = 10 * BLOCK_BYTES + 5


def header(offset: int, total: int = TOTAL) -> BlockHeader:
    """Return the header of a block of the artifact."""
    return BlockHeader(sha256="ab" * 32, offset=offset, total=total, crc32=0)


def block(place: int, have: int = 0) -> tuple[BlockHeader, bytes]:
    """Return the block number ``place`` counted from ``have``."""
    offset = have + place * BLOCK_BYTES
    return header(offset), bytes(min(BLOCK_BYTES, TOTAL - offset))


def window(have: int = 0) -> BlockWindow:
    """Return a window that begins at time 0."""
    return BlockWindow(total=TOTAL, have=have, heard_at=0.0)


def test_a_window_of_blocks_is_asked_for_at_once() -> None:
    """One request covers the window, and is not repeated at once."""
    blocks = window()

    assert blocks.to_ask(0.0) == [(0, WINDOW)]
    assert blocks.to_ask(0.1) == []


def test_it_goes_on_from_any_byte() -> None:
    """What HTTP left need not end where a block does."""
    assert window(have=777).to_ask(0.0) == [(777, WINDOW)]


def test_each_block_that_comes_makes_room_for_the_next() -> None:
    """The window slides with what came in order."""
    blocks = window()
    blocks.to_ask(0.0)

    assert blocks.take(*block(0), 0.1) == [bytes(BLOCK_BYTES)]
    assert blocks.to_ask(0.1) == [(WINDOW * BLOCK_BYTES, 1)]


def test_only_what_is_missing_is_asked_for_again() -> None:
    """A block that came early is kept and not asked for again."""
    blocks = window()
    blocks.to_ask(0.0)
    blocks.take(*block(1), 0.1)

    assert blocks.to_ask(ASK_AGAIN_S) == [
        (0, 1),
        (2 * BLOCK_BYTES, WINDOW - 2),
    ]
    assert blocks.take(*block(0), 1.1) == [bytes(BLOCK_BYTES)] * 2


def test_what_is_not_of_this_artifact_changes_nothing() -> None:
    """Doubles, other lengths, odd offsets and far ones are ignored."""
    blocks = window()
    blocks.take(*block(0), 0.1)

    for odd in (
        block(0),
        (header(BLOCK_BYTES, total=5), b""),
        (header(BLOCK_BYTES + 1), bytes(BLOCK_BYTES)),
        block(WINDOW + 1),
    ):
        assert blocks.take(*odd, 0.2) == []
    assert blocks.have == BLOCK_BYTES


def test_silence_makes_it_ask_ever_more_seldom_and_then_give_up() -> None:
    """The wait doubles; after half a minute without a block it is hopeless."""
    blocks = window()
    tenths = (tenth / 10 for tenth in range(int(GIVE_UP_S * 10)))
    asked = [now for now in tenths if blocks.to_ask(now)]

    assert asked == [0.0, 1.0, 3.0, 7.0, 15.0, 23.0]
    assert not blocks.is_hopeless(GIVE_UP_S)
    assert blocks.is_hopeless(GIVE_UP_S + 0.1)
