"""Whether a labelled raw sample may leave the device. The answer defaults to no.

It needs all of: a consent in the configuration that is named and not expired, with
samples left of its maximum (counted over restarts), and a collection that the hub
asked for, neither full nor past its end. Only what is predicted after that is taken: a
label that comes late is mostly of a time before whatever made the hub ask. The decision
is pure; the worker keeps the state in a file.
"""

from collections import Counter
from datetime import UTC
from enum import StrEnum

from msgspec.structs import replace

from edge_agent.config import ConsentConfig
from edge_agent.wire.types import Count, Instant, Short, Strict


class Refusal(StrEnum):
    """Why a sample stays on the device."""

    NO_CONSENT = "no_consent"
    EXPIRED = "expired"
    USED_UP = "used_up"
    NOT_ASKED = "not_asked"
    ENDED = "ended"
    FULL = "full"
    NO_INPUT = "no_input"
    BEFORE = "before"


class CollectState(Strict, frozen=True, kw_only=True):
    """What must outlive the process: the collection, and what each side has used.

    ``used`` counts against the consent called ``consent``; ``taken`` against the
    collection, of ``max_samples`` (0: none is on) until ``until`` (0: no end).
    """

    consent: Short = ""
    used: Count = 0
    max_samples: Count = 0
    taken: Count = 0
    until: Instant = 0.0


def decide_collect(
    consent: ConsentConfig | None, state: CollectState, now: float
) -> Refusal | None:
    """Return why a sample may not leave at ``now``, or ``None`` if it may."""
    if consent is None:
        return Refusal.NO_CONSENT
    expires = consent.expires_at
    if expires.tzinfo is None:
        expires = expires.replace(tzinfo=UTC)
    used = state.used if state.consent == consent.name else 0
    checks = (
        (now >= expires.timestamp(), Refusal.EXPIRED),
        (used >= consent.max_samples, Refusal.USED_UP),
        (state.max_samples == 0, Refusal.NOT_ASKED),
        (state.taken >= state.max_samples, Refusal.FULL),
        (0 < state.until <= now, Refusal.ENDED),
    )
    return next((refusal for holds, refusal in checks if holds), None)


class Collector:
    """Applies the decision and counts. Guarded by the sample path's lock."""

    def __init__(
        self, consent: ConsentConfig | None, state: CollectState | None = None
    ) -> None:
        """Go on from a kept state."""
        self.consent = consent
        self.state = state or CollectState()
        self.refused: Counter[str] = Counter()
        self._after = 0

    def ask(self, max_samples: int, until: float, *, after: int) -> None:
        """Start a collection, in place of any other; 0 samples end it.

        ``after`` is the number of the newest prediction. A process that is started
        again knows no older ones, so that is not kept.
        """
        self._after = after
        self.state = replace(
            self.state, max_samples=max_samples, taken=0, until=max(until, 0.0)
        )

    def take(self, now: float, number: int, *, has_input: bool) -> str:
        """Count one labelled sample; return the consent's name if it may leave."""
        refusal = decide_collect(self.consent, self.state, now)
        if refusal is None and number <= self._after:
            refusal = Refusal.BEFORE
        if refusal is None and not has_input:
            refusal = Refusal.NO_INPUT
        if refusal is not None or self.consent is None:
            self.refused[refusal or Refusal.NO_CONSENT] += 1
            return ""
        name = self.consent.name
        used = self.state.used if self.state.consent == name else 0
        self.state = replace(
            self.state, consent=name, used=used + 1, taken=self.state.taken + 1
        )
        return name
