"""Renewing the device's certificate before it ends, while the agent runs.

A thread of the supervisor, where TLS is on and the pair is ours (``tls.key`` is not
set). At two thirds of its life the certificate vouches for its successor at the hub
that this device enrolled with. The new pair replaces the old one in one rename, and is
used from the next connection on; the present one may go on until then. What fails is
tried again, ever more seldom, and told once.
"""

import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge_agent.base.clock import EARLIEST_WALL, Clock
from edge_agent.errors import AgentError
from edge_agent.openssl import Certificate

CERTIFICATE_RENEWED = "certificate.renewed"
CERTIFICATE_KEPT = "certificate.not_renewed"

SHARE = 2 / 3
SPREAD = 1 / 20
"""A fleet that enrolled together renews over a twentieth of the lifetime."""
LOOK_S = 60.0
FIRST_WAIT_S = 60.0
LAST_WAIT_S = 6 * 3600.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalPorts:
    """What a renewal works with; ``tell`` gets an error that began or (None) ended."""

    read: Callable[[Path], Certificate]
    renew: Callable[[], object]
    renewed: Callable[[], None]
    tell: Callable[[AgentError], None]


def due_at(certificate: Certificate, luck: float) -> float:
    """Return when to renew; ``luck`` from 0 to 1 spreads the devices of a fleet."""
    life_s = certificate.ends_at - certificate.begins_at
    return certificate.begins_at + life_s * (SHARE + SPREAD * luck)


class Renewal:
    """Looks at one certificate until told to stop."""

    def __init__(self, path: Path, clock: Clock, ports: RenewalPorts) -> None:
        """Watch the file ``path``."""
        self._path, self._clock, self._ports = path, clock, ports
        self._random = random.SystemRandom()
        self._luck = self._random.random()
        self._wait_s = FIRST_WAIT_S
        self._failing = False

    def run(self, stop: threading.Event) -> None:
        """Renew whenever it is time; body of a thread."""
        while not stop.wait(self.look()):
            continue

    def look(self) -> float:
        """Renew if it is time; return after how many seconds to look again."""
        now = self._clock.wall()
        if now < EARLIEST_WALL:
            return LOOK_S  # no hour of any certificate can be told
        try:
            if now < due_at(self._ports.read(self._path), self._luck):
                return LOOK_S
            self._ports.renew()
        except AgentError as error:
            return self._note(error)
        log.info(CERTIFICATE_RENEWED)
        self._failing, self._wait_s = False, FIRST_WAIT_S
        self._ports.renewed()
        return LOOK_S

    def _note(self, error: AgentError) -> float:
        if not self._failing:
            self._failing = True
            log.warning(CERTIFICATE_KEPT, extra={"why": str(error)})
            self._ports.tell(error)
        wait_s = self._random.uniform(self._wait_s / 2, self._wait_s)
        self._wait_s = min(2 * self._wait_s, LAST_WAIT_S)
        return wait_s
