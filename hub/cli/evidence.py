"""How the command line says on what evidence a release is where it is."""

import getpass

from msgspec import UNSET

from edge_agent.wire.records import PairedSummary


def detail_text(detail: str, retried_after: str) -> str:
    """Say what is known of a device of a rollout, and of its second chance."""
    again = f"retried once after {retried_after}" if retried_after else ""
    return "; ".join(filter(None, (detail, again)))


def left_out_text(left_out: dict[str, str]) -> str:
    """Name the hardware classes that get the release no more."""
    named = [f"{name or 'unknown hardware'} ({why})" for name, why in left_out.items()]
    return ", ".join(sorted(named)) or "-"


def user_name() -> str:
    """Return who works at this terminal."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown user"


def paired_text(summary: PairedSummary | None) -> str:
    """Say how the newest paired test ended."""
    if summary is None:
        return "-"
    text = f"release {summary.release} against {summary.incumbent}: {summary.result}"
    figures = [f"{summary.n} samples ({summary.source})"]
    if summary.association is not UNSET:
        figures.append(f"{summary.statistic} {summary.association:.2f}")
    if summary.confidence_drop is not UNSET:
        figures.append(f"confidence {-summary.confidence_drop:+.2f}")
    if summary.latency_ratio is not UNSET:
        figures.append(f"latency x{summary.latency_ratio:.2f}")
    return f"{text}; {', '.join(figures)}"
