"""The terms on which a device gets a release, beside which one it is."""

from dataclasses import dataclass

from edge_agent.wire.control import PairedPolicy, ShadowPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """After a paired test or a shadow, against a quarantine or penalty box.

    By default none of these.
    """

    paired: PairedPolicy | None = None
    shadow: ShadowPolicy | None = None
    forced: bool = False


PLAIN = Terms()
"""No test, no shadow, no force: what goes back to the incumbent gets it so."""
