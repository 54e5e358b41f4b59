"""What the ring of own inputs holds, as text and as a finding of ``doctor``."""

from pathlib import Path

from edge_agent.errors import AgentError
from edge_agent.evidence.layout import MIN_SLOTS
from edge_agent.finding import Finding
from edge_agent.serve.client import Client
from edge_agent.serve.protocol import EvidenceReply
from edge_agent.store.lock import is_locked

HOUR_S = 3600.0
CHECK = "evidence"


def evidence_text(ring: EvidenceReply) -> str:
    """Return the ring's state as one line."""
    if not ring.capacity:
        why = "off" if ring.keep == "off" else "nothing is kept"
        return f"{why}: {ring.problem}" if ring.problem else why
    kinds = "samples in stretches" if ring.stateful else "samples"
    parts = [f"{ring.kept} of {ring.capacity} own {kinds} kept in {ring.keep}"]
    if ring.oldest_s is not None:
        parts.append(f"oldest {ring.oldest_s / HOUR_S:.1f} h")
    if ring.misfits:
        parts.append(f"{ring.misfits} that did not fit")
    if ring.torn:
        parts.append(f"{ring.torn} torn")
    return ", ".join(parts) + (f"; {ring.problem}" if ring.problem else "")


def examine_evidence(keep: str, socket: Path) -> Finding:
    """Return whether paired tests of new releases have what they need.

    Args:
        keep: ``evidence.keep`` of the configuration.
        socket: Of the local API, in the state folder.
    """
    if keep == "off":
        seen = "off: new releases are not compared on this device's own inputs"
        return Finding(check=CHECK, ok=True, seen=seen)
    if not is_locked(socket.parent):
        seen = "the agent does not run, so nothing is known of the ring"
        return Finding(check=CHECK, ok=True, seen=seen)
    try:
        with Client(socket) as client:
            ring = client.evidence()
    except AgentError as error:
        return Finding(check=CHECK, ok=False, seen=error.text, cure=error.cure)
    too_small = 0 < ring.capacity < MIN_SLOTS
    return Finding(
        check=CHECK,
        ok=not (ring.problem or too_small),
        seen=evidence_text(ring),
        cure='set evidence.max_bytes, or evidence.keep = "memory", and restart the'
        " agent",
    )
