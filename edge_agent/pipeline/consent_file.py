"""The collection's state on disk: a consent's maximum holds over restarts.

A damaged file counts as used up: data that nobody agreed to send does not leave.
"""

import logging
from pathlib import Path

from edge_agent.config import ConsentConfig
from edge_agent.pipeline.collect import CollectState
from edge_agent.wire.codec import decode, encode
from edge_agent.wire.errors import WireError

CONSENT_UNREADABLE = "consent.unreadable"
CONSENT_UNSAVED = "consent.unsaved"
COLLECT_FILE = "collect.json"

log = logging.getLogger(__name__)


class ConsentFile:
    """``collect.json`` in the state folder."""

    def __init__(self, state_dir: Path) -> None:
        """Point at a state folder."""
        self._path = state_dir / COLLECT_FILE

    def read(self, consent: ConsentConfig | None) -> CollectState:
        """Return the kept state; a new one if there is none."""
        try:
            return decode(self._path.read_bytes(), CollectState)
        except FileNotFoundError:
            return CollectState()
        except (OSError, WireError) as error:
            log.warning(CONSENT_UNREADABLE, extra={"why": str(error)})
        if consent is None:
            return CollectState()
        return CollectState(consent=consent.name, used=consent.max_samples)

    def write(self, state: CollectState) -> None:
        """Keep the state. A write that fails is logged: the count goes on in memory."""
        part = self._path.with_suffix(".part")
        try:
            part.write_bytes(encode(state))
            part.replace(self._path)
        except OSError as error:
            log.warning(CONSENT_UNSAVED, extra={"why": str(error)})
