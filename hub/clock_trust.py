"""The hub's clock: the system's, as far as what is known of the time agrees with it.

Nothing that cannot be undone may rest on one reading of a clock. So every reading is
compared with the last one that was believed and the steady clock's progress since then.
Across restarts ``clock.json`` keeps that reading; the newest time that the hub stored
and the newest that it signed are compared too. What differs by more than
:data:`STEP_S` is not believed: :meth:`HubClock.wall` then goes on from what is known,
so nothing expires and nothing is stored under a wrong time, and whoever prunes or signs
asks :func:`is_trusted` first. It ends by itself when the clock comes right, or when a
time service begins to keep it; a person ends it with ``hub clock accept``.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from edge_agent.base.clock import EARLIEST_WALL, Clock, is_synchronised
from edge_agent.wire import codec
from edge_agent.wire.errors import WireError
from edge_agent.wire.types import Count, Instant, Message, Short, prepare
from hub.errors import ConflictError
from hub.files import write_durably

log = logging.getLogger(__name__)

CLOCK_FILE = "clock.json"
CLOCK_HELD = "clock.held"
CLOCK_TRUSTED = "clock.trusted"
CURE = "set the clock (NTP), or say that it is right: hub clock accept"

STEP_S = 3600.0
"""A clock may differ by this from what is known: time services step by less."""
ABSENCE_S = 7 * 86_400.0
"""So long a hub may have been off without a time service that vouches for its clock."""
ABSENCE_SYNCHRONISED_S = 400 * 86_400.0
"""So long it may have been off where a time service does."""
KEEP_S = 30.0
"""How often the newest reading is kept."""
LOOK_S = 1.0
_DAY_S, _FEW_DAYS = 86_400.0, 2
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class ClockRecord(Message, frozen=True, kw_only=True):
    """The newest reading that was believed.

    ``steady`` is seconds since the start ``boot`` of this machine, sleep included.
    ``synchronised``: a time service kept the clock then. ``accepted`` counts how often
    a person said that the clock is right; ``refuted`` is the newest time of those that
    were known to be wrong then (0: none).
    """

    at: Instant
    steady: float
    boot: Short
    synchronised: bool = False
    accepted: Count = 0
    refuted: Instant = 0.0


prepare(ClockRecord)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockVerdict:
    """What is made of the system's clock; ``reason`` is empty where it is believed."""

    clock: float
    known: float
    reason: str = ""

    @property
    def is_trusted(self) -> bool:
        """Whether the clock is believed."""
        return not self.reason


class Machine(Protocol):
    """The clocks of the machine."""

    def wall(self) -> float:
        """Return seconds since 1970-01-01 UTC, as the system has it."""
        ...

    def steady(self) -> float:
        """Return seconds since the machine's start, sleep included."""
        ...

    def boot(self) -> str:
        """Name the start of the machine that ``steady`` counts from."""
        ...

    def is_synchronised(self) -> bool:
        """Tell whether a time service keeps the clock."""
        ...


class ThisMachine:
    """The clocks of this machine."""

    def wall(self) -> float:
        """Return seconds since 1970-01-01 UTC, as the system has it."""
        return time.time()

    def steady(self) -> float:
        """Return seconds since the machine's start, sleep included."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def boot(self) -> str:
        """Name the start of the machine that ``steady`` counts from."""
        try:
            return _BOOT_ID.read_text("ascii").strip()
        except OSError:
            return ""

    def is_synchronised(self) -> bool:
        """Tell whether a time service keeps the clock."""
        return is_synchronised()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Base:
    """What readings are compared with: a time, and the steady clock then."""

    at: float
    steady: float
    synchronised: bool
    reason: str = ""


class HubClock:
    """A clock of which every reading is checked; any thread may read it."""

    def __init__(
        self,
        folder: Path,
        witnesses: Callable[[], Sequence[float]] = tuple,
        machine: Machine | None = None,
    ) -> None:
        """Begin with what is known.

        Args:
            folder: The hub's home folder.
            witnesses: Returns times that have been: newest stored, newest signed.
            machine: The clocks underneath; this machine's by default.
        """
        self._file = folder / CLOCK_FILE
        self._machine = machine = machine or ThisMachine()
        self._boot = machine.boot()
        self._witnesses = witnesses
        self._told = False
        self._kept_at = self._looked_at = float("-inf")
        self._record = self._read()
        self._base = self._begin(self._record)

    def wall(self) -> float:
        """Return the time: what goes on from the known where the clock is wrong."""
        verdict = self.check()
        return verdict.clock if verdict.is_trusted else verdict.known

    def mono(self) -> float:
        """Return seconds of a clock that never jumps."""
        return time.monotonic()

    def check(self) -> ClockVerdict:
        """Read the clock and compare it."""
        wall, steady = self._machine.wall(), self._machine.steady()
        base = self._base
        known = base.at + max(0.0, steady - base.steady)
        reason = ""
        if abs(wall - known) > STEP_S and not self._came_right(wall, known):
            reason = base.reason or _jump_text(wall - known)
        if reason and self._is_accepted(steady):
            return self.check()
        if not reason:
            synchronised = base.synchronised
            if steady - base.steady > KEEP_S or base.reason:
                synchronised = self._machine.is_synchronised()
            self._base = _Base(at=wall, steady=steady, synchronised=synchronised)
        return ClockVerdict(clock=wall, known=known, reason=reason)

    def tick(self) -> ClockVerdict:
        """Check, keep a good reading now and then, and log a change; for the ticker."""
        verdict = self.check()
        steady = self._machine.steady()
        if verdict.is_trusted and steady - self._kept_at >= KEEP_S:
            self._kept_at = steady
            self._keep()
        if verdict.is_trusted == self._told:
            self._told = not verdict.is_trusted
            facts = {"clock": verdict.clock, "known": verdict.known}
            if self._told:
                log.error(CLOCK_HELD, extra={**facts, "reason": verdict.reason})
            else:
                log.warning(CLOCK_TRUSTED, extra=facts)
        return verdict

    def keep(self) -> None:
        """Keep the present reading if it is believed: at an orderly stop."""
        if self.check().is_trusted:
            self._keep()

    def accept(self) -> ClockVerdict:
        """Take the system's clock for right, as a person says; return what it is.

        Raises:
            ConflictError: It is before any version of this software
                (``HUB-CLOCK-002``).
        """
        wall = self._machine.wall()
        if wall < EARLIEST_WALL:
            raise ConflictError(
                "HUB-CLOCK-002",
                "the system's clock is before 2025, which cannot be right",
                cure="set it first: timedatectl set-time, or start a time service",
            )
        known = max((self._known(self._record), *self._witnesses()), default=0.0)
        accepted = self._record.accepted + 1 if self._record else 1
        refuted = known if known > wall + STEP_S else 0.0
        self._base = _Base(
            at=wall,
            steady=self._machine.steady(),
            synchronised=self._machine.is_synchronised(),
        )
        self._keep(accepted=accepted, refuted=refuted)
        return self.check()

    def _begin(self, record: ClockRecord | None) -> _Base:
        """Judge the first reading, for which the steady clock may know nothing."""
        machine = self._machine
        wall, steady = machine.wall(), machine.steady()
        synchronised = machine.is_synchronised()
        same_boot = record is not None and record.boot == self._boot != ""
        if record is not None and same_boot and steady >= record.steady:
            return _Base(
                at=record.at, steady=record.steady, synchronised=record.synchronised
            )
        known = self._known(record)
        base = _Base(at=wall, steady=steady, synchronised=synchronised)
        if wall < max(known, EARLIEST_WALL) - STEP_S:
            what = "what this hub stored or signed" if known else "any that can be"
            span = _span(wall - max(known, EARLIEST_WALL))
            reason = f"the clock is {span} behind {what}"
        elif known and wall - known > (
            ABSENCE_SYNCHRONISED_S if synchronised else ABSENCE_S
        ):
            reason = f"the clock is {_span(wall - known)} ahead of what this hub stored"
            reason += " last, and no time service vouches for it"
        else:
            return base
        return replace(base, at=max(known, EARLIEST_WALL), reason=reason)

    def _known(self, record: ClockRecord | None) -> float:
        """Return the newest time that has been, without those that were refuted."""
        times = list(self._witnesses())
        if record is not None:
            last = record.at + STEP_S
            times = [at for at in times if not last < at <= record.refuted]
            times.append(record.at)
        return max(times, default=0.0)

    def _came_right(self, wall: float, known: float) -> bool:
        """Tell whether a time service has just begun to keep the clock."""
        if self._base.synchronised or wall < EARLIEST_WALL:
            return False
        within = -ABSENCE_S <= wall - known <= ABSENCE_SYNCHRONISED_S
        return within and self._machine.is_synchronised()

    def _is_accepted(self, steady: float) -> bool:
        """Look whether a person has accepted the clock since; at most once a second."""
        if 0 <= steady - self._looked_at < LOOK_S:
            return False
        self._looked_at = steady
        found = self._read()
        before = self._record.accepted if self._record else 0
        if found is None or found.accepted <= before or found.boot != self._boot:
            return False
        self._record = found
        self._base = _Base(
            at=found.at, steady=found.steady, synchronised=found.synchronised
        )
        return True

    def _keep(
        self, *, accepted: int | None = None, refuted: float | None = None
    ) -> None:
        """Write the base down; what a person accepted meanwhile stays."""
        known = self._read() or self._record
        base = self._base
        if known is not None:
            accepted = known.accepted if accepted is None else accepted
            refuted = known.refuted if refuted is None else refuted
        record = ClockRecord(
            at=base.at,
            steady=base.steady,
            boot=self._boot,
            synchronised=base.synchronised,
            accepted=accepted or 0,
            refuted=refuted or 0.0,
        )
        write_durably(self._file, codec.encode_pretty(record))
        self._record = record

    def _read(self) -> ClockRecord | None:
        try:
            return codec.decode(self._file.read_bytes(), ClockRecord)
        except (OSError, WireError):
            return None


def is_trusted(clock: Clock) -> bool:
    """Tell whether what cannot be undone may rest on this clock."""
    return not isinstance(clock, HubClock) or clock.check().is_trusted


def require_trusted(clock: Clock) -> None:
    """Refuse to sign while the clock is not believed.

    Raises:
        ConflictError: It is not (``HUB-CLOCK-001``).
    """
    if isinstance(clock, HubClock) and not (verdict := clock.check()).is_trusted:
        raise ConflictError(
            "HUB-CLOCK-001", f"nothing is signed now: {verdict.reason}", cure=CURE
        )


def tick_clock(clock: Clock) -> None:
    """Step the hub's clock; called by the ticker."""
    if isinstance(clock, HubClock):
        clock.tick()


def keep_clock(clock: Clock) -> None:
    """Keep a good reading of the hub's clock; called at an orderly stop."""
    if isinstance(clock, HubClock):
        clock.keep()


def _jump_text(seconds: float) -> str:
    way = "ahead of" if seconds > 0 else "behind"
    text = f"the clock is {_span(seconds)} {way} its last good reading"
    return f"{text} and the time that has passed since"


def _span(seconds: float) -> str:
    seconds = abs(seconds)
    days = seconds / _DAY_S
    return f"{days:.0f} days" if days > _FEW_DAYS else f"{seconds / 3600:.1f} h"
