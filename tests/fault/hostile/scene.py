"""What an attempt has at hand: hostile devices, and what became of what they said."""

import json
import secrets
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edge_agent.wire import topics
from edge_agent.wire.topics import Lane, Leaf
from tests.fault.hostile.arena import POLL_S, Arena
from tests.fault.hostile.honest import read_acks
from tests.fault.hostile.outcome import Outcome
from tests.fault.hostile.wire import Wire

SETTLE_S = 45.0
HEARD_S = 12.0
ASK_AGAIN_S = 1.0
Kinds = Mapping[str, Any]


def pack(document: object) -> bytes:
    """Compress a document, valid or not."""
    text = document if isinstance(document, str) else json.dumps(document)
    return zlib.compress(text.encode("utf-8", "surrogatepass"), 6)


def columns(kind: str, rows: Sequence[Mapping[str, Any]], lo: int = 1) -> Kinds:
    """Return records of one kind, all with the same fields, as a batch has them."""
    fields = {key: [row[key] for row in rows] for key in rows[0]}
    return {kind: {"seq": list(range(lo, lo + len(rows))), "fields": fields}}


class Hostile:
    """An enrolled device whose every message is of the attacker's making."""

    def __init__(self, arena: Arena, name: str, **options: Any) -> None:  # noqa: ANN401 - of Wire
        """Enrol, connect and listen to acknowledgements."""
        self.name, self.boot = name, secrets.token_hex(8)
        self._arena = arena
        self.files = arena.rig.enrol(name)
        self.wire = Wire(name, arena.port, self.files, **options)
        if self.wire.accepted:
            self.wire.subscribe(topics.leaf(name, Leaf.ACK))

    def header(self, count: int = 1, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
        """Return the header of a first batch of so many records, with changes."""
        plain = {
            "v": 1,
            "boot": self.boot,
            "lane": "metric",
            "base": 0,
            "lo": 1,
            "hi": count,
            "wall_at": time.time(),
            "mono_s": 1.0,
        }
        return plain | changes

    def batch(self, kinds: Kinds, count: int = 1, **header: Any) -> bool:  # noqa: ANN401
        """Send a batch on the lane that its header names."""
        made = self.header(count, **header)
        return self.raw(pack({"header": made, "kinds": kinds}), made["lane"])

    def rows(self, kind: str, *rows: Mapping[str, Any], **header: Any) -> bool:  # noqa: ANN401
        """Send records of one kind."""
        lo = header.get("lo", 1)
        header.setdefault("hi", lo + len(rows) - 1)
        return self.batch(columns(kind, rows, lo), **header)

    def raw(self, payload: bytes, lane: str = "metric", qos: int = 1) -> bool:
        """Send bytes on a lane."""
        topic = topics.up(self.name, Lane(lane))
        return self.wire.say(topic, payload, qos=qos)

    def control(self, leaf: Leaf, document: object) -> bool:
        """Send a control message."""
        payload = document if isinstance(document, bytes) else _json(document)
        return self.wire.say(topics.leaf(self.name, leaf), payload)

    def settle(self, limit_s: float = SETTLE_S) -> bool:
        """Ask until the hub answers: it has then seen all that was sent before.

        Returns:
            Whether it answered; it need not, where this device costs too much.
        """
        ask = secrets.randbelow(1 << 40) + 1
        payload = pack({"header": self.header(1, lo=2, ask=ask), "kinds": {}})
        deadline, again = time.monotonic() + limit_s, 0.0
        while time.monotonic() < deadline and self._arena.alive:
            if any(ack.ask == ask for ack in read_acks(self.wire)):
                return True
            if time.monotonic() > again and not self.wire.ended.is_set():
                self.raw(payload)
                again = time.monotonic() + ASK_AGAIN_S
            self.wire.wait(POLL_S)
        return False


@dataclass(slots=True)
class Scene:
    """The arena, and the hostile devices of one attempt."""

    arena: Arena
    number: int
    cast: list[Hostile] = field(default_factory=list)

    def hostile(self, **options: Any) -> Hostile:  # noqa: ANN401 - of Wire
        """Enrol one more hostile device, which the hub hears when this returns.

        After a flood it listens by name, and to a new name some seconds later. Honest
        devices send again until then; these send once.
        """
        name = f"hostile-{self.number}-{len(self.cast)}"
        made = Hostile(self.arena, name, **options)
        self.cast.append(made)
        made.settle(HEARD_S)
        return made

    def fate(self, device: Hostile) -> Outcome:
        """Tell what became of the batches of a device that began with nothing."""
        device.settle()
        books = self.arena.books
        if books.quarantined(device.name):
            return Outcome.QUARANTINED
        if books.records(device.name):
            return Outcome.KEPT
        acks = read_acks(device.wire)
        return Outcome.DROPPED if any(a.upto for a in acks) else Outcome.IGNORED

    def close(self) -> None:
        """End all connections."""
        for device in self.cast:
            device.wire.close()


def _json(document: object) -> bytes:
    return json.dumps(document).encode("utf-8", "surrogatepass")
