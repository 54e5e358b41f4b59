"""What devices sent and the hub could not use: kept with its reason, and told.

A reader that meets such a record notes it and goes on; :meth:`SetAside.flush` puts it
into the quarantine (``hub ingest quarantine``), once however often it is met, and
:meth:`SetAside.observe` makes an alert of it for as long as it is news. One instance a
process, in the ticker thread.
"""

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Engine, select

from edge_agent.wire import topics
from edge_agent.wire.topics import Lane
from hub.alerts.evidence import SetAsideEvidence
from hub.alerts.machine import Condition
from hub.alerts.service import Observation
from hub.faults import Fault, classify
from hub.storage import poison
from hub.storage.db import transaction
from hub.storage.tables import POISON

log = logging.getLogger(__name__)

RECORD_SET_ASIDE = "record.set_aside"
SET_ASIDE = "set_aside"
FRESH_S = 3600.0
MAX_WAITING = 1000
MAX_DEVICES = 1000
_REASON = 512

Open = Collection[tuple[str, int, str]]
"""Rule, release and cohort of the open incidents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is being read: whose, which, when it came, and its bytes if kept."""

    device: str
    what: str
    at: float
    body: str = ""


class SetAside:
    """Collects what could not be used."""

    def __init__(self, engine: Engine) -> None:
        """Start with nothing noted."""
        self._engine = engine
        self._waiting: list[tuple[Subject, str]] = []
        self._newest: dict[str, SetAsideEvidence] = {}

    @contextmanager
    def guard(self, subject: Subject) -> Iterator[None]:
        """Note what fails inside; a database or a resource that fails is passed on."""
        try:
            yield
        except Exception as error:
            if classify(error) is not Fault.DATA:
                raise
            self.note(subject, f"{error.__class__.__name__}: {error}")

    def note(self, subject: Subject, reason: str) -> None:
        """Note that something cannot be used."""
        reason = f"{subject.what}: {reason}"[:_REASON]
        log.warning(
            RECORD_SET_ASIDE, extra={"device": subject.device, "reason": reason}
        )
        before = self._newest.pop(subject.device, None)
        self._newest[subject.device] = SetAsideEvidence(
            device=subject.device,
            reason=reason,
            times=before.times + 1 if before else 1,
            last_at=subject.at,
        )
        if len(self._newest) > MAX_DEVICES:
            del self._newest[next(iter(self._newest))]
        if subject.body and len(self._waiting) < MAX_WAITING:
            self._waiting.append((subject, reason))

    def flush(self) -> None:
        """Put what was noted into the quarantine, without what is there already."""
        if not self._waiting:
            return
        with transaction(self._engine) as connection:
            for subject, reason in self._waiting:
                topic = topics.up(subject.device, Lane.METRIC)
                same = select(POISON.c.id).where(
                    POISON.c.topic == topic, POISON.c.reason == reason
                )
                if connection.scalar(same.limit(1)) is None:
                    body = subject.body.encode()
                    poison.write_poison(
                        connection, topic, body, reason=reason, at=subject.at
                    )
            poison.trim_poison(connection)
        self._waiting.clear()

    def observe(self, open_keys: Open, now: float) -> list[Observation]:
        """Return one observation a device; its incident ends when it is no news."""
        self._newest = {
            device: seen
            for device, seen in self._newest.items()
            if now - seen.last_at <= FRESH_S
        }
        quiet = {
            device
            for rule, _, device in open_keys
            if rule == SET_ASIDE and device not in self._newest
        }
        return [
            *(_observation(device, seen) for device, seen in self._newest.items()),
            *(_observation(device, None) for device in quiet),
        ]


def _observation(device: str, seen: SetAsideEvidence | None) -> Observation:
    text = f"{device} sent what the hub cannot use ({seen.reason})" if seen else ""
    return Observation(
        rule=SET_ASIDE,
        release=0,
        cohort=device,
        condition=Condition.TRUE if seen else Condition.FALSE,
        summary=f"{text}; see `hub ingest quarantine list`" if text else "",
        evidence=seen,
    )
