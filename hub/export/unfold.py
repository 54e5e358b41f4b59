"""From the JSON of records to columns: profiles by window and channel, events."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from math import sqrt
from typing import Any

from edge_agent.sketch.distance import psi
from edge_agent.wire.profile import ReferenceProfile
from edge_agent.wire.records import EventRecord, ProfileRecord
from hub.storage.records import read_stored

ReadReference = Callable[[int, str], ReferenceProfile | None]
"""Takes a release's number and the sha256 of its reference profile."""
Row = dict[str, Any]


class Unfolding:
    """Unfolds records; reads each release's reference once."""

    def __init__(self, read_reference: ReadReference) -> None:
        """Unfold with the references that ``read_reference`` gives."""
        self._read = read_reference
        self._references: dict[tuple[int, str], ReferenceProfile | None] = {}

    def unfold(self, records: Iterable[Mapping[str, Any]]) -> dict[str, list[Row]]:
        """Return the rows that records add to each of the unfolded tables.

        What an older hub stored and the wire does not allow adds none.
        """
        rows: dict[str, list[Row]] = {
            "profiles": [],
            "profile_channels": [],
            "events": [],
        }
        for row in records:
            if row["kind"] not in {"profile", "event"}:
                continue
            record = read_stored(row["body"])
            if isinstance(record, ProfileRecord):
                rows["profiles"].append(_profile(row, record))
                rows["profile_channels"] += self._channels(row["id"], record)
            elif isinstance(record, EventRecord):
                rows["events"].append(_event(row, record))
        return rows

    def _channels(self, number: int, record: ProfileRecord) -> Iterator[Row]:
        """Yield one row a channel; the distance is to the release's reference.

        PSI as in :func:`edge_agent.sketch.distance.psi`: 0 is no difference.
        """
        which = (record.release, record.reference)
        if which not in self._references:
            self._references[which] = self._read(*which)
        known = self._references[which]
        data = record.profile
        if known is not None and [len(one) for one in data.counts] != [
            channel.bins for channel in known.channels
        ]:
            known = None  # Another device's idea of this reference.
        for place, counts in enumerate(data.counts):
            channel = known.channels[place] if known else None
            row: Row = {
                "profile": number,
                "place": place,
                "name": channel.name if channel else f"channel {place}",
                "n": sum(counts),
                "psi": psi(counts, known.data.counts[place]) if known else None,
            }
            if place < len(data.moments):
                found = data.moments[place]
                row |= {"mean": found.mean, "low": found.low, "high": found.high}
                row["std"] = sqrt(found.m2 / found.n) if found.n else None
            yield row


def _profile(row: Mapping[str, Any], record: ProfileRecord) -> Row:
    return {
        "record": row["id"],
        "device": row["device"],
        "release": record.release,
        "reference": record.reference,
        "window_start_at": record.window_start_at,
        "window_end_at": record.window_end_at,
        "rows": record.profile.rows,
        "rejected": sum(record.profile.rejected.values()),
    }


def _event(row: Mapping[str, Any], record: EventRecord) -> Row:
    return {
        "record": row["id"],
        "device": row["device"],
        "at": record.at,
        "code": record.code,
        "severity": record.severity,
        "text": record.text,
    }
