"""Logging: one line an event, for people on a terminal, as JSON elsewhere.

Events are constants in the modules that log them; facts go into ``extra``. Samples
and secrets are never logged.
"""

import logging
import sys
from datetime import UTC, datetime

import msgspec

from edge_agent.base.terminal import harmless, one_line, raw_stream

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def _facts(record: logging.LogRecord) -> dict[str, object]:
    return {k: v for k, v in vars(record).items() if k not in _STANDARD}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, event, and the event's facts."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a line of JSON."""
        at = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, object] = {
            "at": at.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **_facts(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return one_line(_text(line))


def _text(line: dict[str, object]) -> str:
    """Return JSON by msgspec: the standard library's costs 190 KiB for ever."""
    try:
        return msgspec.json.encode(line, enc_hook=str).decode()
    except (TypeError, ValueError, OverflowError, msgspec.MsgspecError):
        # Rare: a path with bytes that are no text, a key that is none, a huge number.
        import json

        return json.dumps(line, default=str, skipkeys=True)


class PlainFormatter(logging.Formatter):
    """A line for people: time, level, event, then ``key=value`` facts."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a line of text."""
        at = datetime.fromtimestamp(record.created, UTC)
        facts = " ".join(
            f"{key}={one_line(value)}" for key, value in _facts(record).items()
        )
        event = one_line(record.getMessage())
        line = f"{at:%H:%M:%S} {record.levelname:<7} {event} {facts}"
        if record.exc_info:
            line += "\n" + harmless(self.formatException(record.exc_info))
        return line.rstrip()


def set_up_logging(*, verbose: bool = False) -> None:
    """Log to standard error: plain on a terminal, JSON elsewhere."""
    handler = logging.StreamHandler(raw_stream(sys.stderr))
    plain = sys.stderr.isatty()
    handler.setFormatter(PlainFormatter() if plain else JsonFormatter())
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO, handlers=[handler], force=True
    )
    for noisy in ("httpx", "httpcore", "tuf", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
