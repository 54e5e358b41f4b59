"""File descriptors: what the hub keeps for itself, and what strangers may have of them.

Database, log, broker and jobs need descriptors at moments that nobody can foresee; a
hub that has none left cannot commit. So connections over HTTP get a share that is
fixed at the start. Called by ``hub serve`` and :mod:`hub.api.server`.
"""

import resource

WANTED = 65_536
"""More is of no use here, and slow for programs that close all they might have."""
RESERVED = 192
"""Database connections with WAL and index (45), broker, log, locks, jobs, threads."""
PER_CONNECTION = 2
"""Its socket, and the artifact that is sent through it."""
MOST_CONNECTIONS, FEWEST_CONNECTIONS = 512, 8


def raise_limit() -> None:
    """Raise this process's soft limit of descriptors to its hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(hard, WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def connections_allowed() -> int:
    """Return how many connections over HTTP leave the hub its own descriptors."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    share = (soft - RESERVED) // PER_CONNECTION
    return max(FEWEST_CONNECTIONS, min(MOST_CONNECTIONS, share))
