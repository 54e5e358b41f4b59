"""What is known about one device of a rollout, and what that makes of it. Pure.

Three things can become of a release on a device: it works there (``ok``), it does not
(``fail``), or nothing there could tell (``inconclusive``). The last is neither success
nor failure. Devices of an older agent do not say on what evidence they committed: they
count as they always did. Called by :mod:`hub.rollout.machine` and the gates.
"""

from dataclasses import dataclass
from enum import StrEnum

from edge_agent.wire.records import PairedSummary, ShadowSummary

CONCLUSIVE = "conclusive"
INCONCLUSIVE = "inconclusive"
UNTESTED = "untested"
FAILED = "failed"
"""Values of :attr:`edge_agent.wire.records.UpdateRecord.evidence`."""

_ENDED_BADLY = frozenset({"failed", "rolled_back", "rejected"})
_FETCHING = frozenset({"FETCH_META", "DOWNLOAD", "VERIFY"})
"""Phases whose end says nothing about how a model runs."""
_TIMED_OUT = 63
_PREFIX = "AGENT-UPDATE-"
_SOFT = frozenset({51, 53, 72, 75, 112, 113})
"""Latency and confidence: a busy or an odd moment of a device can cause them."""
_NOT_BY_RELEASE = frozenset({*range(9, 35), *range(80, 103)})
"""Metadata, downloads, space, trust; factory model, folders, a person at the device."""


class Outcome(StrEnum):
    """What became of a release on one device."""

    PENDING = ""
    OK = "ok"
    INCONCLUSIVE = "inconclusive"
    FAIL = "fail"
    SILENT = "silent"
    UNREACHED = "unreached"
    LEFT_OUT = "left_out"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """What is known about one device of a rollout.

    ``release``, ``phase`` and ``reported_seq`` are the reported twin; ``outcome``,
    ``evidence``, ``code`` and ``detail`` are of its newest update record for the
    assignment ``assigned_seq`` (0: not assigned yet) that ended something, received at
    ``ended_at``; ``failed_in`` is the phase that it ended in. ``shadow`` and ``paired``
    are of the newest record that has them. ``evidence`` is "" where the agent is older
    than paired tests. ``boxed``: it takes up nothing new for now, because too much
    failed there lately or a person there pinned it. ``retries`` counts how often it got
    the release again after a soft failure. ``tells_evidence``: its agent says on what
    evidence it commits, so a commit whose record has not come is not an older agent's.
    """

    device: str
    stage: int
    online: bool
    hardware: str = ""
    assigned_seq: int = 0
    release: int = 0
    phase: str = ""
    reported_seq: int = 0
    quarantined: bool = False
    boxed: bool = False
    heard: bool = False
    outcome: str = ""
    evidence: str = ""
    code: str = ""
    detail: str = ""
    failed_in: str = ""
    ended_at: float = 0.0
    retries: int = 0
    tells_evidence: bool = False
    shadow: ShadowSummary | None = None
    paired: PairedSummary | None = None

    @property
    def lacks(self) -> str:
        """Say why it is inconclusive."""
        if not self.online and self.outcome != "committed":
            return "silent since it got the release"
        if self.outcome != "committed":
            return "its report has not come yet"
        return self.detail or "no evidence"

    @property
    def where(self) -> str:
        """Name the device and its hardware class, for people."""
        return f"{self.device} ({class_name(self.hardware)})"


def class_name(hardware: str) -> str:
    """Name a hardware class for people."""
    return hardware or "unknown hardware"


def outcome_of(facts: DeviceFacts, candidate: int) -> Outcome:
    """Decide what became of the candidate on one device."""
    if facts.assigned_seq == 0:
        return Outcome.PENDING
    if has_failed(facts, candidate):
        return Outcome.PENDING if is_to_be_retried(facts, candidate) else Outcome.FAIL
    settled = facts.phase == "IDLE" and facts.reported_seq >= facts.assigned_seq
    if facts.release == candidate and (facts.outcome == "committed" or settled):
        told = facts.outcome == "committed" or not facts.tells_evidence
        known = told and facts.evidence in {"", CONCLUSIVE, UNTESTED}
        return Outcome.OK if known else Outcome.INCONCLUSIVE
    # What failed softly and got a second try has been reached, whatever it says since.
    reached = facts.heard or facts.retries or facts.reported_seq >= facts.assigned_seq
    if facts.boxed and not reached:
        return Outcome.UNREACHED
    if facts.online:
        return Outcome.PENDING
    return Outcome.SILENT if reached else Outcome.UNREACHED


def has_failed(facts: DeviceFacts, candidate: int) -> bool:
    """Tell whether the candidate failed on the device, for whatever cause."""
    if facts.outcome in _ENDED_BADLY or facts.evidence == FAILED:
        return True
    return facts.quarantined and facts.release != candidate


def is_to_be_retried(facts: DeviceFacts, candidate: int) -> bool:
    """Tell whether a failure is a soft one that gets its second chance.

    What failed after the commit is not: the device has watched it since.
    """
    soft = _number(facts.code) in _SOFT and facts.evidence != FAILED
    return soft and facts.retries == 0 and has_failed(facts, candidate)


def is_by_release(facts: DeviceFacts) -> bool:
    """Tell whether a failure can be the release's fault, and so is evidence.

    What timed out while it was fetched is not; for the rest see :func:`can_be_caused`.
    """
    if _number(facts.code) == _TIMED_OUT:
        return facts.failed_in not in _FETCHING
    return can_be_caused(facts.code)


def can_be_caused(code: str) -> bool:
    """Tell whether a release can cause a failure with this code.

    Self-test, paired test, shadow, probation and crashes can be. Metadata, downloads,
    space, trust and what a person at the device did cannot: they are shown, and the
    device is no success either. A code that this hub does not know counts.
    """
    return not code.startswith("AGENT-STORE-") and _number(code) not in _NOT_BY_RELEASE


def _number(code: str) -> int:
    digits = code.removeprefix(_PREFIX)
    return int(digits) if digits != code and digits.isdecimal() else 0
