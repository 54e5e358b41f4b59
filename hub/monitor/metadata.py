"""Metadata that does not arrive, that somebody else made, or that is about to expire.

Every device reports which versions it trusts. One that is online and stays behind is
cut off from the hub's metadata, which it cannot notice itself (TUF's freeze attack by
whoever holds the broker); one that is ahead trusts metadata that this hub never signed.
And what only a person can sign again is told in time. Called by
:mod:`hub.monitor.service`.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
from sqlalchemy import Engine, select

from edge_agent.wire.control import TufVersions
from hub.alerts.evidence import ExpiryEvidence, MetadataEvidence
from hub.alerts.machine import Condition
from hub.alerts.service import Observation
from hub.releases.roles import MODELS, REFRESH_AGE, WARN_BEFORE, is_stale
from hub.releases.tuf_repo import TufRepo
from hub.storage.tables import DEVICES

METADATA_LAG = "metadata_lag"
METADATA_AHEAD = "metadata_ahead"
SIGNATURE_DUE = "signature_due"
METADATA_RULES = frozenset({METADATA_LAG, METADATA_AHEAD, SIGNATURE_DUE})
LOOK_S = 10.0
"""How often devices are looked at; an alert needs no more."""
_DAY_S = 86_400.0

Open = Collection[tuple[str, int, str]]
"""Rule, release and cohort of the open incidents."""


class _Twin(msgspec.Struct):
    """The part of a reported twin that is read here."""

    tuf: TufVersions = TufVersions()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Behind:
    """The version at which a device has stayed, and since when."""

    timestamp: int
    since_at: float


class MetadataWatch:
    """Compares what devices trust with what the hub signed; one instance a process."""

    def __init__(self, engine: Engine, tuf: TufRepo, lag_s: float) -> None:
        """Alert on devices that are behind for longer than ``lag_s``."""
        self._engine = engine
        self._tuf = tuf
        self._lag_s = lag_s
        self._behind: dict[str, _Behind] = {}
        self._decode = msgspec.json.Decoder(_Twin)
        self._looked_at = float("-inf")
        self._found: list[Observation] = []

    def observe(self, open_keys: Open, now: float) -> list[Observation]:
        """Return what is to be said of the metadata; what is well says nothing.

        Of an open incident something is said in any case: unknown would be wrong.
        """
        if not self._looked_at <= now < self._looked_at + LOOK_S:
            self._looked_at = now
            self._found = [*self._devices(open_keys, now), *self._signatures(now)]
        return self._found

    def look_again(self) -> None:
        """Look at the next call, whenever the last look was."""
        self._looked_at = float("-inf")

    def _devices(self, open_keys: Open, now: float) -> Iterator[Observation]:
        present = self._tuf.present()
        hub = TufVersions(
            root=present.root.signed.version,
            timestamp=present.timestamp.signed.version,
        )
        seen = self._read()
        self._behind = {
            device: self._stay(device, tuf, now)
            for device, tuf in seen.items()
            if tuf.timestamp < hub.timestamp
        }
        for device, tuf in seen.items():
            late = self._behind.get(device)
            conditions = {
                METADATA_LAG: _lag(late, now, self._lag_s),
                METADATA_AHEAD: _truth(
                    tuf.timestamp > hub.timestamp or tuf.root > hub.root
                ),
            }
            for rule, condition in conditions.items():
                if condition is Condition.TRUE or (rule, 0, device) in open_keys:
                    yield _observation(
                        rule,
                        condition,
                        MetadataEvidence(
                            device=device,
                            trusts=tuf,
                            signed=hub,
                            since_at=late.since_at if late else now,
                        ),
                    )

    def _read(self) -> dict[str, TufVersions]:
        """Return what the devices that are online trust."""
        columns = select(DEVICES.c.id, DEVICES.c.reported)
        found = columns.where(
            DEVICES.c.online,
            DEVICES.c.reported != "",
            DEVICES.c.retired_at.is_(None),
        )
        with self._engine.connect() as conn:
            return {
                row.id: self._decode.decode(row.reported).tuf
                for row in conn.execute(found)
            }

    def _stay(self, device: str, tuf: TufVersions, now: float) -> _Behind:
        known = self._behind.get(device)
        if known is not None and known.timestamp == tuf.timestamp:
            return known
        return _Behind(timestamp=tuf.timestamp, since_at=now)

    def _signatures(self, now: float) -> Iterator[Observation]:
        """Tell which roles wait for a person, or for a hub that does not sign."""
        present, at = self._tuf.present(), datetime.fromtimestamp(now, UTC)
        roles: Mapping[str, bool] = {
            "root": True,
            "targets": not self._tuf.can_sign("targets"),
            MODELS: not self._tuf.can_sign(MODELS),
        }
        for role, signed in present.roles().items():
            ends_at = signed.signed.expires.timestamp()
            due = roles.get(role, False) and ends_at - now < WARN_BEFORE.total_seconds()
            if role == "timestamp":
                due = is_stale(present.timestamp.signed, at - REFRESH_AGE)
            yield Observation(
                rule=SIGNATURE_DUE,
                release=0,
                cohort=role,
                condition=_truth(due),
                severity="high" if ends_at - now < _DAY_S * 14 else "warning",
                summary=_due_text(role, ends_at, now),
                evidence=ExpiryEvidence(role=role, expires_at=ends_at),
            )


def _lag(late: _Behind | None, now: float, lag_s: float) -> Condition:
    """Judge how long a device has been behind; for a while nobody can know."""
    if late is None:
        return Condition.FALSE
    return Condition.TRUE if now - late.since_at > lag_s else Condition.UNKNOWN


def _truth(holds: bool) -> Condition:  # noqa: FBT001 - that is its whole input
    return Condition.TRUE if holds else Condition.FALSE


def _observation(
    rule: str, condition: Condition, evidence: MetadataEvidence
) -> Observation:
    trusts, signed = evidence.trusts, evidence.signed
    text = f"{evidence.device} trusts timestamp {trusts.timestamp}, root {trusts.root};"
    text += f" the hub signed {signed.timestamp}, {signed.root}"
    if rule == METADATA_AHEAD:
        text += ": this hub was restored from a backup, or somebody has its online key;"
        text += " hub keys rotate online --offline-keys DIR"
    return Observation(
        rule=rule,
        release=0,
        cohort=evidence.device,
        condition=condition,
        severity="warning" if rule == METADATA_LAG else "critical",
        summary=text,
        evidence=evidence,
    )


def _due_text(role: str, ends_at: float, now: float) -> str:
    if role == "timestamp":
        return "the hub has not signed its timestamp for two days"
    days = (ends_at - now) / _DAY_S
    ends = f"expires in {days:.0f} days" if days > 0 else "has expired"
    return f"{role} {ends}; only a person with its key can sign it again"
