"""An artifact in blocks over a link that loses, doubles, reorders and damages."""

import hashlib
import random
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.update.blocks import BlockWindow
from edge_agent.wire import codec
from edge_agent.wire.block import BlockHeader, BlockRequest, decode_block
from edge_agent.wire.errors import WireError
from hub.blocks import BlockServer
from tests.fakes.scripted_link import FakeClock

STEPS = 5000


class Air:
    """What is under way from the hub: lost, doubled, reordered and damaged."""

    def __init__(self, dice: random.Random, loss: float) -> None:
        """Begin with nothing under way."""
        self._dice, self._loss = dice, loss
        self._messages: list[bytes] = []

    def send(self, _topic: str, payload: bytes) -> bool:
        """Take a message, perhaps twice, perhaps damaged, perhaps not at all."""
        dice = self._dice
        for _ in range(dice.choice((1, 1, 2))):
            if not self.loses():
                flipped = bytearray(payload)
                if dice.random() < 0.1:
                    flipped[dice.randrange(len(flipped))] ^= 1 << dice.randrange(8)
                place = dice.randint(0, len(self._messages))
                self._messages.insert(place, bytes(flipped))
        return True

    def loses(self) -> bool:
        """Tell whether the next message is lost."""
        return self._dice.random() < self._loss

    def arrive(self) -> list[bytes]:
        """Return some of what is under way."""
        count = self._dice.randint(0, len(self._messages))
        came, self._messages = self._messages[:count], self._messages[count:]
        return came


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    size=st.integers(1, 1_500_000),
    have=st.integers(0, 200_000),
    loss=st.floats(0, 0.6),
)
def test_the_bytes_arrive_whatever_the_link_does(
    seed: int, size: int, have: int, loss: float
) -> None:
    """The hub's own server and the device's window bring every byte, once, in order."""
    dice = random.Random(seed)
    content = dice.randbytes(size)
    digest = hashlib.sha256(content).hexdigest()
    clock, air = FakeClock(), Air(dice, loss)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / digest).write_bytes(content)
        server = BlockServer(Path(folder), air.send, clock)
        got = bytearray(content[:have])
        window = BlockWindow(total=size, have=len(got), heard_at=clock.now)
        for _ in range(STEPS):
            if window.is_done:
                break
            step(window, server, air, digest, clock)
            for payload in air.arrive():
                got += b"".join(window.take(*sound(payload), clock.now))

    assert bytes(got) == content


def step(
    window: BlockWindow, server: BlockServer, air: Air, digest: str, clock: FakeClock
) -> None:
    """Let half a second pass, in which the device asks and the hub answers."""
    clock.now += 0.5
    for offset, count in window.to_ask(clock.now):
        request = BlockRequest(sha256=digest, offset=offset, count=count)
        if not air.loses():
            server.offer("d1", codec.encode(request))
    while server.step(0.001):
        pass


def sound(payload: bytes) -> tuple[BlockHeader, bytes]:
    """Return a block, or one that fits nowhere in place of a damaged one."""
    try:
        return decode_block(payload)
    except WireError:
        return BlockHeader(sha256="00" * 32, offset=0, total=0, crc32=0), b""
