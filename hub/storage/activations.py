"""What devices said of their activations: how the newest ended, how a shadow did.

Read from records that devices sent, never from what they were told. Plain functions;
the caller owns the connection. Called by :mod:`hub.devices` and :mod:`hub.rollout`.
"""

from dataclasses import dataclass

from msgspec import UNSET
from sqlalchemy import Connection, select

from edge_agent.wire.records import PairedSummary, ShadowSummary, UpdateRecord
from hub.storage.records import read_stored
from hub.storage.tables import IS_UPDATE, RECORDS, RECORDS_OF_STREAMS, STREAMS

_LOOK_BACK = 200
"""Records of one device; an activation without trouble has about nine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """The newest end of an activation and when it was heard; newest shadow and test."""

    ended: UpdateRecord | None = None
    heard_at: float = 0.0
    shadow: ShadowSummary | None = None
    paired: PairedSummary | None = None


def last_activation(conn: Connection, device: str) -> Activation:
    """Return what a device said last."""
    newest = (
        select(RECORDS.c.body, RECORDS.c.received_at)
        .select_from(RECORDS_OF_STREAMS)
        .where(IS_UPDATE, STREAMS.c.device == device)
        .order_by(RECORDS.c.received_at.desc(), RECORDS.c.seq.desc())
        .limit(_LOOK_BACK)
    )
    ended: UpdateRecord | None = None
    shadow: ShadowSummary | None = None
    paired: PairedSummary | None = None
    heard_at = 0.0
    for body, received_at in conn.execute(newest):
        record = read_stored(body)
        if not isinstance(record, UpdateRecord):
            continue
        if ended is None and record.outcome:
            ended, heard_at = record, received_at
        if shadow is None and record.shadow is not UNSET:
            shadow = record.shadow
        if paired is None and record.paired is not UNSET:
            paired = record.paired
        if ended and shadow and paired:
            break
    return Activation(ended=ended, heard_at=heard_at, shadow=shadow, paired=paired)
