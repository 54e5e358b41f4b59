"""Which blocks of an artifact to ask for, and when again. Pure.

A window of :data:`WINDOW` blocks from the first missing byte on is asked for. Blocks
may come late, twice, in any order or not at all; what came is handed out in order, and
what did not is asked for again after a while that doubles as long as nothing comes.
"""

from dataclasses import dataclass, field

from edge_agent.wire.block import BLOCK_BYTES, MAX_BLOCKS, BlockHeader

WINDOW = 8
ASK_AGAIN_S = 1.0
ASK_SELDOM_S = 8.0
GIVE_UP_S = 30.0
"""Without a single block for so long, whoever asked is told to try later."""


@dataclass(slots=True)
class BlockWindow:
    """The blocks of one artifact of ``total`` bytes, of which ``have`` are there."""

    total: int
    have: int
    heard_at: float
    wait_s: float = ASK_AGAIN_S
    _early: dict[int, bytes] = field(default_factory=dict)
    _asked: dict[int, float] = field(default_factory=dict)

    @property
    def is_done(self) -> bool:
        """Whether all bytes were handed out."""
        return self.have >= self.total

    def is_hopeless(self, now: float) -> bool:
        """Tell whether nothing has come for too long."""
        return now - self.heard_at > GIVE_UP_S

    def to_ask(self, now: float) -> list[tuple[int, int]]:
        """Return ``(offset, count)`` of what to ask for now, and take it as asked."""
        end = min(self.total, self.have + WINDOW * BLOCK_BYTES)
        due = [
            offset
            for offset in range(self.have, end, BLOCK_BYTES)
            if offset not in self._early
            and now - self._asked.get(offset, float("-inf")) >= self.wait_s
        ]
        if any(offset in self._asked for offset in due):
            self.wait_s = min(2 * self.wait_s, ASK_SELDOM_S)
        self._asked.update(dict.fromkeys(due, now))
        runs: list[tuple[int, int]] = []
        for offset in due:
            first, count = runs[-1] if runs else (offset, 0)
            if count < MAX_BLOCKS and offset == first + count * BLOCK_BYTES:
                runs[-1:] = [(first, count + 1)]
            else:
                runs.append((offset, 1))
        return runs

    def take(self, header: BlockHeader, data: bytes, now: float) -> list[bytes]:
        """Take a block; return the bytes that are now next, in order."""
        place, odd = divmod(header.offset - self.have, BLOCK_BYTES)
        if header.total != self.total or odd or not 0 <= place < WINDOW:
            return []
        self.heard_at, self.wait_s = now, ASK_AGAIN_S
        self._early[header.offset] = data
        ready: list[bytes] = []
        while (part := self._early.pop(self.have, None)) is not None:
            self._asked.pop(self.have, None)
            ready.append(part)
            self.have += len(part)
        return ready
