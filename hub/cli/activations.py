"""How ``hub devices get`` shows what a device said of its activations."""

from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET

from edge_agent.wire.control import LEFT_OUT, Reported
from edge_agent.wire.records import ShadowSummary
from hub.cli.output import utc_text

if TYPE_CHECKING:
    from hub.storage.activations import Activation


class ActivationView(msgspec.Struct, frozen=True, kw_only=True):
    """How the newest activation ended; ``code`` and ``detail`` say why it failed.

    ``evidence`` is on what a commit rests ("": an older agent does not say).
    """

    release: int
    rollout: str
    seq: int
    outcome: str
    code: str
    detail: str
    heard_at: float
    evidence: str = ""


def activation_view(row: "Activation") -> ActivationView | None:
    """Return the newest end, if there ever was one."""
    if row.ended is None:
        return None
    return ActivationView(
        release=row.ended.release,
        rollout=row.ended.rollout,
        seq=row.ended.assignment_seq,
        outcome=row.ended.outcome,
        code=row.ended.code,
        detail=row.ended.detail,
        heard_at=row.heard_at,
        evidence="" if row.ended.evidence is UNSET else row.ended.evidence,
    )


def obstacle_text(reported: Reported | None) -> str:
    """Say what a device's updates wait for."""
    if reported is None or reported.obstacle is UNSET:
        return "-"
    return f"{reported.obstacle.code} {reported.obstacle.text}"


def left_out_text(reported: Reported | None) -> str:
    """Say what a device leaves out now because of heat or its processor quota."""
    if reported is None:
        return "-"
    level = "" if reported.shedding is UNSET else reported.shedding
    return LEFT_OUT.get(level, level)


def api_text(reported: Reported | None) -> str:
    """Say where a device's local API answers."""
    if reported is None or reported.api is UNSET:
        return "-"
    return ", ".join(reported.api)


def activation_text(view: ActivationView | None) -> str:
    """Say how the newest activation ended."""
    if view is None:
        return "-"
    why = " ".join(filter(None, (view.code, view.detail)))
    how = f", {view.evidence}" if view.evidence else ""
    told = f": {why}" if why else ""
    return f"release {view.release} {view.outcome} {utc_text(view.heard_at)}{how}{told}"


def shadow_text(summary: ShadowSummary | None) -> str:
    """Say how the newest shadow did."""
    if summary is None:
        return "-"
    return (
        f"release {summary.release}: {summary.n} pairs,"
        f" {summary.disagreement_ratio:.1%} disagree,"
        f" confidence {summary.confidence_shift:+.3f},"
        f" latency x{summary.latency_ratio:.2f},"
        f" memory +{summary.rss_bytes / (1 << 20):.1f} MiB,"
        f" {summary.errors} errors, {summary.dropped} dropped"
    )


def held_text(reported: Reported | None) -> str:
    """Say which releases a device takes no more, and whether it takes any."""
    if reported is None:
        return "-"
    failed = ", ".join(str(number) for number in reported.quarantined) or "-"
    if reported.pinned is True:
        failed += "; pinned there: other releases wait"
    if reported.penalty_until is UNSET:
        return failed
    return f"{failed}; nothing new until {utc_text(reported.penalty_until)}"
