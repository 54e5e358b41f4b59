"""Which of the device's inputs are kept: a reservoir spread in time and over streams.

While the ring has room every sample is kept. Then each stream keeps one at random
moments (:mod:`~edge_agent.evidence.reservoir`), in place of one of the stream that has
most, so that a stream a hundred times as fast as another gets no more than its share.
Of a model that keeps state, stretches of consecutive samples are kept in the same way.

:meth:`Recorder.count` is on the path of every prediction: a look-up, a clock and a
comparison. Nothing here ever fails a prediction: what goes wrong ends the recording,
and is said.
"""

import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edge_agent.base.digest import sha256_hex
from edge_agent.base.randomness import Randomness
from edge_agent.evidence.layout import MIN_SLOTS, STRETCH, Slot, contract_digest
from edge_agent.evidence.reservoir import MEAN_AGE_S, Reservoir
from edge_agent.evidence.ring_writer import RingWriter, little_bytes, pack_misfit
from edge_agent.runtime.port import Array
from edge_agent.wire.manifest import InputContract

RECORDING_ENDED = "evidence.recording_ended"
RING_SMALL = "evidence.ring_small"
FAILED = "AGENT-EVIDENCE-005"

MAX_STREAMS = 16
RESTART_JUMP = 1000
"""Numbers of a stream that a restart leaves out: no burst goes on across one."""
MISFIT_GAP_S = 60.0
OTHERS = "\0others"
"""The stream that all streams beyond :data:`MAX_STREAMS` share."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Stream:
    """One stream: its newest sample, and when the next one shall be kept.

    ``unit`` is the open group of slots (-1: none), begun at ``since``; ``filled`` is
    how many of it are.
    """

    key: int
    generation: int
    number: int
    due: float
    last: float
    unit: int = -1
    since: float = 0.0
    filled: int = 0
    stretch: int = 0
    kept: int = 0


@dataclass(frozen=True, slots=True)
class Due:
    """A sample that shall be kept; ``before`` is when the one before it came."""

    stream: _Stream
    number: int
    before: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RecorderView:
    """What is kept now. ``oldest_s`` is the age of the oldest in recorded time."""

    kept: int = 0
    capacity: int = 0
    bytes: int = 0
    fits: bool = False
    oldest_s: float | None = None
    misfits: int = 0
    torn: int = 0
    stateful: bool = False
    problem: str = ""


class Recorder:
    """Fills the ring. :meth:`count` is called under the sample path's lock.

    Attributes:
        mono: The clock.
    """

    def __init__(
        self, writer: RingWriter, rng: Randomness, mono: Callable[[], float]
    ) -> None:
        """Record nothing until :meth:`follow`."""
        self._writer = writer
        self._rng = rng
        self.mono = mono
        self._lock = threading.Lock()
        self._recording = False
        self._generation = 0
        self._failure = ""
        self._stateful = False
        self._inputs: tuple[str, ...] = ()
        self._contract = ""
        self._reset(0)

    def count(self, stream: str, now: float) -> Due | None:
        """Count a sample that the active release answered; return it if it is due.

        The caller hands what is due to :meth:`keep`, without its lock.

        Args:
            stream: Name of what the sample follows.
            now: Monotonic time, of the clock that the recorder has.
        """
        if not self._recording:
            return None
        try:
            state = self._streams.get(stream) or self._track(stream)
            state.number += 1
            before, state.last = state.last, now
            return None if now < state.due else Due(state, state.number, before)
        except Exception as error:  # noqa: BLE001 - the ring fails no prediction
            self._fail(error)
            return None

    def keep(self, due: Due, first: Array, extra: Mapping[str, Array]) -> None:
        """Keep a sample: the first input's array, further ones by name."""
        with self._lock:
            try:
                if self._recording and due.stream.generation == self._generation:
                    self._keep(due, first, extra)
            except Exception as error:  # noqa: BLE001 - the ring fails no prediction
                self._fail(error)

    def refuse(self, given: object, reason: str) -> None:
        """Keep an input that the active release does not take, now and then."""
        with self._lock:
            try:
                if self._recording:
                    self._refuse(given, reason)
            except Exception as error:  # noqa: BLE001 - the ring fails no prediction
                self._fail(error)

    def follow(self, inputs: Sequence[InputContract], *, stateful: bool) -> None:
        """Record the samples of a release from now on; without inputs of none.

        A ring of other inputs is emptied.
        """
        with self._lock:
            try:
                self._follow(inputs, stateful=stateful)
            except Exception as error:  # noqa: BLE001 - the ring fails no swap
                self._fail(error)

    def clear(self) -> None:
        """Empty the ring and begin anew."""
        with self._lock:
            self._writer.clear()
            self._generation += 1
            self._reset(self._slots)

    def view(self) -> RecorderView:
        """Return what is kept; every checksum is looked at."""
        with self._lock:
            ring, layout = self._writer.ring, self._writer.ring.layout
            slots = [slot for _, slot in ring.slots(layout)]
            oldest = min((slot.age_s for slot in slots), default=None)
            return RecorderView(
                kept=len(slots),
                capacity=self._slots,
                bytes=self._writer.total,
                fits=layout is not None and layout.contract == self._contract,
                oldest_s=None if oldest is None else max(self._age() - oldest, 0.0),
                misfits=len(ring.misfit_places(layout)),
                torn=ring.torn,
                stateful=self._stateful,
                problem=self._problem(),
            )

    def _problem(self) -> str:
        if self._failure:
            return self._failure
        if self._contract and self._slots < MIN_SLOTS:
            return (
                f"room for {self._slots} samples; paired tests need {MIN_SLOTS}:"
                " raise evidence.max_bytes"
            )
        return ""

    def _follow(self, inputs: Sequence[InputContract], *, stateful: bool) -> None:
        self._generation += 1
        self._recording = False
        if not inputs or self._failure:
            return
        self._writer.follow(inputs)
        layout = self._writer.layout
        slots = layout.slots if layout is not None else 0
        self._inputs = tuple(one.tensor.name for one in inputs)
        self._contract, self._stateful = contract_digest(inputs), stateful
        self._reset(slots)
        if slots < MIN_SLOTS:
            log.warning(RING_SMALL, extra={"slots": slots, "needed": MIN_SLOTS})
        self._recording = slots > 0

    def _reset(self, slots: int) -> None:
        """Begin with what is in the ring."""
        self._slots = slots
        self._span = min(STRETCH, max(slots, 1)) if self._stateful else 1
        self._streams: dict[str, _Stream] = {}
        owners: dict[int, int] = {}
        self._numbers: dict[int, int] = {}
        self._order = self._stretch = 0
        self._misfits: list[int] = []
        self._misfit_due = -math.inf
        self._began, self._base_age = self.mono(), 0.0
        units, layout = slots // self._span, self._writer.layout
        for place, slot in self._writer.ring.slots(layout):
            if place // self._span < units:
                owners[place // self._span] = slot.stream
            known = self._numbers.get(slot.stream, 0)
            self._numbers[slot.stream] = max(known, slot.number)
            self._order = max(self._order, slot.order)
            self._stretch = max(self._stretch, slot.stretch)
            self._base_age = max(self._base_age, slot.age_s)
        for order, place, _ in self._writer.ring.misfit_places(layout):
            self._misfits.append(place)
            self._order = max(self._order, order)
        self._reservoir = Reservoir(units, owners, self._rng)

    def _track(self, stream: str) -> _Stream:
        with self._lock:
            if len(self._streams) >= MAX_STREAMS - 1:
                stream = OTHERS
            known = self._streams.get(stream)
            if known is not None:
                return known
            key = int(sha256_hex(stream.encode("utf-8", "replace"))[:16], 16)
            now, before = self.mono(), self._numbers.get(key)
            made = _Stream(
                key=key,
                generation=self._generation,
                number=0 if before is None else before + RESTART_JUMP,
                due=now,
                last=now,
            )
            self._streams[stream] = made
            made.due = self._next_due(now)
            return made

    def _keep(self, due: Due, first: Array, extra: Mapping[str, Array]) -> None:
        state = due.stream
        if state.unit < 0:
            # The moment that was drawn, not the sample's: else slow streams get less.
            state.since = max(state.due, due.before)
            if not self._begin_unit(state):
                state.due = self._next_due(state.since)
                return
        if self._span > 1 and (not state.filled or due.number != state.kept + 1):
            # Requests of several threads may overtake each other: a new stretch.
            self._stretch = state.stretch = self._stretch + 1
        self._order += 1
        slot = Slot(
            order=self._order,
            number=due.number,
            stream=state.key,
            age_s=self._age(),
            stretch=state.stretch,
            data=self._data(first, extra),
        )
        self._writer.write(state.unit * self._span + state.filled, slot)
        state.filled, state.kept = state.filled + 1, due.number
        if state.filled == self._span:
            state.unit, state.filled = -1, 0
            state.due = self._next_due(state.since)
        else:
            state.due = -math.inf

    def _data(self, first: Array, extra: Mapping[str, Array]) -> bytes:
        if not extra:
            return little_bytes(first)
        further = (little_bytes(extra[name]) for name in self._inputs[1:])
        return little_bytes(first) + b"".join(further)

    def _begin_unit(self, state: _Stream) -> bool:
        busy = {one.unit for one in self._streams.values()}
        unit = self._reservoir.take(state.key, busy, self._live())
        if unit < 0:
            return False
        state.unit, state.filled = unit, 0
        if self._span > 1:
            for place in range(unit * self._span, (unit + 1) * self._span):
                self._writer.free(place)
        return True

    def _live(self) -> set[int]:
        """Return the streams that were heard of in the last hours."""
        heard = dict.fromkeys(self._reservoir.streams(), self._began)
        heard |= {state.key: state.last for state in self._streams.values()}
        since = self.mono() - MEAN_AGE_S
        return {key for key, last in heard.items() if last >= since}

    def _next_due(self, since: float) -> float:
        if self._reservoir.has_room:
            return -math.inf
        return since + self._reservoir.gap_s(self._age(), self._live())

    def _age(self) -> float:
        """Return for how long the ring has been recorded, restarts left out."""
        return self._base_age + self.mono() - self._began

    def _refuse(self, given: object, reason: str) -> None:
        layout, now = self._writer.layout, self.mono()
        if layout is None or now < self._misfit_due:
            return
        payload = pack_misfit(layout, given, reason)
        if payload is None:
            return
        room = set(range(layout.misfits)) - set(self._misfits)
        place = min(room) if room else self._misfits.pop(0)
        self._misfits.append(place)
        self._order += 1
        self._writer.write_misfit(place, self._order, payload)
        if len(self._misfits) == layout.misfits:
            self._misfit_due = now + MISFIT_GAP_S

    def _fail(self, error: Exception) -> None:
        self._recording = False
        self._failure = f"{FAILED}: recording ended: {type(error).__name__}: {error}"
        log.error(RECORDING_ENDED, extra={"code": FAILED, "error": str(error)})
