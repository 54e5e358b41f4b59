"""The phase ``FETCH_META``: metadata that vouches for what was assigned.

The broker brings it, usually before the assignment. Where it does not, the hub's HTTP
server is asked. What comes on either way is judged by the runner, in one place.
"""

import logging

from edge_agent.errors import UpdateError
from edge_agent.update.download import InterruptedDownloadError, Ways
from edge_agent.update.metadata import Trust
from edge_agent.update.outcomes import OK, Again, Fetched, Outcome
from edge_agent.update.verify import check_floor
from edge_agent.update.web import fetch_bundle
from edge_agent.wire.control import Assignment

METADATA_FETCHED = "update.metadata_fetched"
METADATA_SOON_S = 3.0
"""How long the broker alone is waited for before the hub's HTTP server is asked."""
METADATA_PATIENCE_S = 15.0
"""How long the metadata of an assignment may come after the assignment itself."""

log = logging.getLogger(__name__)


def fetch_meta(
    trust: Trust, ways: Ways, assignment: Assignment, now_wall: float, elapsed_s: float
) -> Outcome:
    """Check that present metadata vouches for an assignment, or fetch newer.

    Args:
        trust: The device's.
        ways: How the hub's HTTP server is reached.
        assignment: What is to be carried out.
        now_wall: Trusted wall time.
        elapsed_s: How long the phase has lasted.

    Raises:
        UpdateError: It does not, and has had its time.
    """
    try:
        trust.refresh(None, now_wall)
        trust.find(assignment.target)
        check_floor(assignment, trust)
    except UpdateError as error:
        if elapsed_s < METADATA_SOON_S:
            return Again(why=str(error), error=error)
        if elapsed_s > METADATA_PATIENCE_S and not error.retryable:
            raise
        return _ask_server(assignment.artifacts_url, ways, error)
    return OK


def _ask_server(url: str, ways: Ways, why: UpdateError) -> Outcome:
    try:
        bundle = fetch_bundle(url, ways)
    except InterruptedDownloadError:
        raise
    except UpdateError as error:
        return Again(why=f"{why}; {error}", error=why)
    log.info(METADATA_FETCHED, extra={"url": url})
    return Fetched(bundle=bundle, why=why)
