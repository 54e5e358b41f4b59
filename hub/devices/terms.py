"""The terms on which a device gets a release, beside which one it is."""

from dataclasses import dataclass

from edge_agent.wire.control import ShadowPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """After a shadow, and against a quarantine or penalty box; by default neither."""

    shadow: ShadowPolicy | None = None
    forced: bool = False


PLAIN = Terms()
"""No shadow, no force: what goes back to the incumbent gets it so."""
