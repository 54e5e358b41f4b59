"""A hub under torture: its own link, ingest writer and database, and nothing else.

:func:`main` (``FOLDER PORT``) runs until SIGTERM or until it is killed.
"""

import signal
import threading
from pathlib import Path

from edge_agent.base.clock import SystemClock
from hub.config import BrokerConfig, IngestConfig
from hub.ingest.writer import IngestWriter
from hub.link import HubLink
from hub.storage.db import open_database

DATABASE_FILE = "hub.db"


def main(argv: list[str]) -> int:
    """Receive, commit, acknowledge."""
    folder, port = Path(argv[0]), int(argv[1])
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    engine = open_database(f"sqlite:///{folder / DATABASE_FILE}")

    def publish_ack(topic: str, payload: bytes) -> None:
        link.send(topic, payload)

    writer = IngestWriter(engine, SystemClock(), publish_ack, IngestConfig())
    link = HubLink(
        BrokerConfig(port=port),
        on_batch=writer.offer,
        on_control=lambda _address, _payload: None,
        on_up=lambda: None,
    )
    link.start()
    writer.run(stop)
    link.stop()
    engine.dispose()
    return 0
