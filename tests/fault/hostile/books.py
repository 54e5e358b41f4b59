"""What a hub has in its database, read beside it."""

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_OF_DEVICE = (
    "SELECT COUNT(*) FROM records JOIN streams ON streams.id = records.stream"
    " WHERE streams.device = ?"
)


@dataclass(frozen=True, slots=True)
class Books:
    """The database of a hub, opened anew for each question and never written to."""

    path: Path

    def records(self, device: str) -> int:
        """Return how many records of a device are there."""
        return int(self._one(_OF_DEVICE, device))

    def quarantined(self, device: str) -> int:
        """Return how many messages of a device are set aside."""
        return int(
            self._one(
                "SELECT COUNT(*) FROM poison WHERE topic LIKE ?",
                f"shoal/v1/{device}/%",
            )
        )

    def streams(self, device: str) -> int:
        """Return how many streams of a device are there."""
        return int(self._one("SELECT COUNT(*) FROM streams WHERE device = ?", device))

    def twin(self, device: str) -> dict[str, Any]:
        """Return the twin that a device reported last, if any was taken in."""
        return self._document("reported", device)

    def presence(self, device: str) -> dict[str, Any]:
        """Return the presence that a device announced last, if any was taken in."""
        return self._document("presence", device)

    def outcome(self, device: str) -> str:
        """Return how the newest rollout took a device's end."""
        found = self._one(
            "SELECT outcome FROM rollout_devices WHERE device = ?"
            " ORDER BY assigned_seq DESC LIMIT 1",
            device,
        )
        return str(found or "")

    def drifting(self, cohort: str) -> bool:
        """Tell whether there is an alert of drift in a cohort."""
        return bool(
            self._one(
                "SELECT COUNT(*) FROM alerts WHERE rule = 'drift' AND cohort = ?",
                cohort,
            )
        )

    def _document(self, column: str, device: str) -> dict[str, Any]:
        text = self._one(f"SELECT {column} FROM devices WHERE id = ?", device)
        return json.loads(text) if text else {}

    def _one(self, statement: str, *values: str) -> Any:  # noqa: ANN401 - a column's
        uri = f"file:{self.path}?mode=ro"
        with closing(sqlite3.connect(uri, timeout=30, uri=True)) as connection:
            row = connection.execute(statement, values).fetchone()
        return row[0] if row else None
