"""Releases that devices found worse after they had committed them.

A device that committed a release on too little evidence goes on comparing it with the
one before. While a rollout is open its gate reads what is found; after that nobody
would, so it is an alert. Going back is a person's decision: the rollout was approved,
or its deadline passed, without this evidence. Called by :mod:`hub.monitor.service`.
"""

from collections.abc import Collection
from dataclasses import dataclass

from msgspec import UNSET
from sqlalchemy import Connection, Engine, select

from edge_agent.wire.records import UpdateRecord
from hub.alerts.evidence import MAX_DEVICES, FailedDevice, LateEvidence
from hub.alerts.machine import Condition
from hub.alerts.service import Observation
from hub.rollout.device_facts import FAILED
from hub.storage.records import read_stored
from hub.storage.tables import DEVICES, IS_UPDATE, RECORDS, RECORDS_OF_STREAMS, STREAMS

LATE_EVIDENCE = "evidence"
LOOK_S = 10.0
"""How often records are looked at; an alert needs no more."""
MAX_RELEASES = 16
"""Of so many releases a device is believed to say something."""
_SHOWN = 3

Open = Collection[tuple[str, int, str]]
"""Rule, release and cohort of the open incidents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """What a device said last of the evidence for a release."""

    evidence: str
    code: str
    detail: str


class LateEvidenceWatch:
    """Follows what devices say of the releases they run; one instance a process."""

    def __init__(self, engine: Engine) -> None:
        """Begin before the first record."""
        self._engine = engine
        self._cursor = 0
        self._said: dict[tuple[str, int], _Said] = {}
        self._releases: dict[str, list[int]] = {}
        """By device: of which releases it said something, the newest last."""
        self._looked_at = float("-inf")
        self._found: list[Observation] = []

    def observe(self, open_keys: Open, now: float) -> list[Observation]:
        """Return the releases that devices which run them speak against.

        Of an open incident something is said in any case: unknown would be wrong.
        """
        if not self._looked_at <= now < self._looked_at + LOOK_S:
            self._looked_at = now
            with self._engine.connect() as conn:
                self._read(conn)
                self._found = self._judge(_present(conn), open_keys)
        return self._found

    def footprint(self) -> int:
        """Return of how many releases of devices something is kept."""
        return len(self._said)

    def look_again(self) -> None:
        """Look at the next call, whenever the last look was."""
        self._looked_at = float("-inf")

    def _read(self, conn: Connection) -> None:
        found = (
            select(RECORDS.c.id, STREAMS.c.device, RECORDS.c.body)
            .select_from(RECORDS_OF_STREAMS)
            .where(IS_UPDATE, RECORDS.c.id > self._cursor)
            .where(RECORDS.c.body.like('%"evidence":%'))
            .order_by(RECORDS.c.id)
        )
        for number, device, body in conn.execute(found):
            self._cursor = number
            record = read_stored(body)
            if isinstance(record, UpdateRecord) and record.evidence is not UNSET:
                said = _Said(
                    evidence=record.evidence, code=record.code, detail=record.detail
                )
                self._note(device, record.release, said)

    def _note(self, device: str, release: int, said: _Said) -> None:
        """Keep what a device said last of its :data:`MAX_RELEASES` newest releases."""
        self._said[device, release] = said
        spoken = self._releases.setdefault(device, [])
        if release in spoken:
            spoken.remove(release)
        spoken.append(release)
        if len(spoken) > MAX_RELEASES:
            self._said.pop((device, spoken.pop(0)), None)

    def _judge(self, present: dict[str, int], open_keys: Open) -> list[Observation]:
        self._said = {
            key: said for key, said in self._said.items() if present.get(key[0], 0)
        }
        against: dict[int, list[FailedDevice]] = {
            release: [] for rule, release, _ in open_keys if rule == LATE_EVIDENCE
        }
        for (device, release), said in sorted(self._said.items()):
            if said.evidence == FAILED and present[device] == release:
                against.setdefault(release, []).append(
                    FailedDevice(
                        device=device, code=said.code, detail=said.detail[:1024]
                    )
                )
        return [_observation(release, found) for release, found in against.items()]


def _present(conn: Connection) -> dict[str, int]:
    """Return the release that each device runs, without those that are retired."""
    found = select(DEVICES.c.id, DEVICES.c.release)
    rows = conn.execute(found.where(DEVICES.c.retired_at.is_(None)))
    return {device: int(release) for device, release in rows}


def _observation(release: int, found: list[FailedDevice]) -> Observation:
    named = ", ".join(f"{one.device} {one.code}".strip() for one in found[:_SHOWN])
    more = f", {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return Observation(
        rule=LATE_EVIDENCE,
        release=release,
        cohort="",
        condition=Condition.TRUE if found else Condition.FALSE,
        severity="high",
        summary=f"{len(found)} devices found release {release} worse after they had"
        f" committed it: {named}{more}; go back with `hub rollouts start`",
        evidence=LateEvidence(devices=found[:MAX_DEVICES]),
    )
