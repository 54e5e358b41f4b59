"""Artifacts in blocks over MQTT, for devices that reach only the broker.

A thread of its own answers one request after the other, and waits until each block is
on the socket, so that acknowledgements of telemetry are at most one block behind. The
queue of requests is bounded, and so is what a device gets a second; what is beyond
either is dropped (and counted), as devices ask again. Only what lies in the folder of
published artifacts, under a name of 64 hex digits, can be asked for, and not by devices
whose certificates are revoked or have expired.
"""

import logging
import queue
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from edge_agent.base.clock import Clock
from edge_agent.wire import codec, topics
from edge_agent.wire.block import (
    BLOCK_BYTES,
    MAX_REQUEST_BYTES,
    BlockHeader,
    BlockRequest,
    encode_block,
)
from edge_agent.wire.errors import WireError
from edge_agent.wire.topics import Leaf

log = logging.getLogger(__name__)

BLOCKS_FULL = "blocks.full"
BLOCKS_UNFORESEEN = "blocks.unforeseen"

QUEUE = 256
WAIT_S = 0.2
RATE_BYTES_S = 8 << 20
BURST_BYTES = 16 << 20
MAX_DEVICES = 10_000
UNKNOWN = "HUB-BLOCK-001: no release has this artifact"
SHORTER = "HUB-BLOCK-002: the artifact has not so many bytes"

Send = Callable[[str, bytes], bool]
"""Topic and payload at QoS 0; returns once it is on the socket, or not."""


@dataclass(slots=True)
class BlockStats:
    """What happened since the start."""

    blocks: int = 0
    refused: int = 0
    dropped: int = 0


class BlockServer:
    """Answers requests for blocks. :meth:`run` is the body of a thread."""

    def __init__(
        self,
        artifacts: Path,
        send: Send,
        clock: Clock,
        is_denied: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """Serve the files of a folder to devices that are not denied."""
        self._is_denied = is_denied
        self._artifacts, self._send, self._clock = artifacts, send, clock
        self._queue: queue.Queue[tuple[str, bytes]] = queue.Queue(QUEUE)
        self._left: dict[str, tuple[float, float]] = {}
        self._full = False
        self.stats = BlockStats()

    def offer(self, device: str, payload: bytes) -> None:
        """Queue a request; never waits. Called on the network thread."""
        try:
            self._queue.put_nowait((device, payload))
            self._full = False
        except queue.Full:
            self.stats.dropped += 1
            if not self._full:
                self._full = True
                log.warning(BLOCKS_FULL, extra={"queued": QUEUE})

    def run(self, stop: Event) -> None:
        """Answer requests until ``stop`` is set."""
        while not stop.is_set():
            self.step(WAIT_S)

    def step(self, timeout_s: float) -> bool:
        """Answer one request, if one comes in time."""
        try:
            device, payload = self._queue.get(timeout=timeout_s)
        except queue.Empty:
            return False
        try:
            request = codec.decode(payload, BlockRequest, limit=MAX_REQUEST_BYTES)
        except WireError:
            self.stats.dropped += 1
            return True
        if self._is_denied(device):
            self.stats.dropped += 1
            return True
        try:
            self._answer(device, request)
        except Exception:
            # One request; the device asks again where it got no answer.
            self.stats.dropped += 1
            log.exception(BLOCKS_UNFORESEEN, extra={"device": device})
        return True

    def _answer(self, device: str, request: BlockRequest) -> None:
        if not self._take(device, request.count * BLOCK_BYTES):
            self.stats.dropped += 1
            return
        topic = topics.leaf(device, Leaf.BLOCK_DATA)
        try:
            with (self._artifacts / request.sha256).open("rb") as file:
                total = file.seek(0, 2)
                if request.offset >= total:
                    self._refuse(topic, request, SHORTER)
                file.seek(request.offset)
                for offset in range(
                    request.offset,
                    min(total, request.offset + request.count * BLOCK_BYTES),
                    BLOCK_BYTES,
                ):
                    block = _block(request, offset, total, file.read(BLOCK_BYTES))
                    if not self._send(topic, block):
                        return
                    self.stats.blocks += 1
        except OSError:
            self._refuse(topic, request, UNKNOWN)

    def _refuse(self, topic: str, request: BlockRequest, why: str) -> None:
        self.stats.refused += 1
        header = BlockHeader(
            sha256=request.sha256,
            offset=request.offset,
            total=0,
            crc32=0,
            refusal=why,
        )
        self._send(topic, encode_block(header, b""))

    def _take(self, device: str, size: int) -> bool:
        """Take ``size`` bytes of a device's share, if it has them."""
        now = self._clock.mono()
        left, at = self._left.pop(device, (float(BURST_BYTES), now))
        left = min(float(BURST_BYTES), left + (now - at) * RATE_BYTES_S)
        taken = left >= size
        # In again at the end: the first is who has not asked for the longest time.
        self._left[device] = (left - size if taken else left, now)
        if len(self._left) > MAX_DEVICES:
            del self._left[next(iter(self._left))]
        return taken


def _block(request: BlockRequest, offset: int, total: int, data: bytes) -> bytes:
    header = BlockHeader(
        sha256=request.sha256, offset=offset, total=total, crc32=zlib.crc32(data)
    )
    return encode_block(header, data)
