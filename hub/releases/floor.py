"""The lowest release that devices install, signed by the offline targets key.

Who has stolen the hub can tell devices to install any authentic release; not one below
the floor, since that needs a key the hub does not have. Nor may the hub itself roll one
out. A device that runs a release below the floor goes on running it, and may go back to
it if a newer one fails. Called by ``hub releases floor``.
"""

from sqlalchemy import Engine

from hub.errors import RefusedError
from hub.storage import releases as release_store
from hub.storage import rollouts as rollout_store


def check_floor(engine: Engine, release: int) -> None:
    """Check that a floor leaves the fleet everything that it may have to install.

    Raises:
        NotFoundError: There is no such release (``HUB-RELEASE-010``).
        RefusedError: The fleet, or a rollout's way back, is below it
            (``HUB-FLOOR-001``).
    """
    if not release:
        return
    with engine.connect() as conn:
        release_store.require_release(conn, release)
        current = rollout_store.last_completed(conn)
        needed = {current.release} if current else set()
        for rollout in rollout_store.open_rollouts(conn):
            needed |= {rollout.release, rollout.incumbent} - {0}
    lowest = min(needed, default=release)
    if lowest < release:
        raise RefusedError(
            "HUB-FLOOR-001",
            f"release {lowest} is what the fleet runs, or goes back to: {release}"
            " cannot be the lowest",
            cure=f"roll release {release} out first: `hub rollouts start {release}`",
        )


def refuse_below(release: int, floor: int) -> None:
    """Refuse to hand out a release that no device would install.

    Raises:
        RefusedError: It is below the floor (``HUB-FLOOR-002``).
    """
    if release < floor:
        raise RefusedError(
            "HUB-FLOOR-002",
            f"release {release} is below {floor}, the lowest that devices install",
            cure="`hub releases floor NUMBER` changes that, with the targets key",
        )
