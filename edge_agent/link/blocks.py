"""Blocks of artifacts over the agent's one connection.

The update thread asks and waits; the relay's thread hands in what comes. The queue is
bounded: what does not fit is dropped and asked for again.
"""

import queue

from edge_agent.link.port import Link
from edge_agent.wire.block import BlockHeader, BlockRequest, decode_block
from edge_agent.wire.codec import encode
from edge_agent.wire.errors import WireError
from edge_agent.wire.topics import Leaf, leaf

DEPTH = 32


class BlockLink:
    """Asks for blocks and keeps what came until it is fetched."""

    def __init__(self, device: str, link: Link) -> None:
        """Ask for ``device`` over ``link``."""
        self._topic = leaf(device, Leaf.BLOCK_GET)
        self._link = link
        self._came: queue.Queue[bytes] = queue.Queue(DEPTH)

    def ask(self, request: BlockRequest) -> bool:
        """Ask the hub for blocks; ``False``: there is no session to ask over."""
        return self._link.publish(self._topic, encode(request))

    def deliver(self, payload: bytes) -> None:
        """Hand in what came; any thread may."""
        try:
            self._came.put_nowait(payload)
        except queue.Full:
            return

    def poll(self, timeout_s: float) -> tuple[BlockHeader, bytes] | None:
        """Return the next block, or ``None`` when no sound one comes in time."""
        try:
            return decode_block(self._came.get(timeout=timeout_s))
        except (queue.Empty, WireError):
            return None
