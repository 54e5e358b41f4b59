"""Two hubs on one broker, and a broker that takes less than the metadata has."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_agent.base.clock import SystemClock
from edge_agent.wire import codec, topics
from edge_agent.wire.control import TufBundle
from hub.config import BrokerConfig, Home
from hub.home import create_home
from hub.link import HubLink
from hub.service import open_services
from hub.storage import devices
from hub.storage.db import transaction
from tests.hub_broker import mosquitto
from tests.hub_bundle import make_bundle

DEADLINE_S = 30.0
LOOK_S = 4.0
"""For so long two hubs fight; 61 disconnects came in 15 s before."""


def _until(true: Callable[[], bool]) -> bool:
    end = time.monotonic() + DEADLINE_S
    pause = threading.Event()
    while not true() and time.monotonic() < end:
        pause.wait(0.05)
    return true()


@contextmanager
def _link(
    port: int, protocol: str, on_up: Callable[[], None] = lambda: None
) -> Iterator[HubLink]:
    config = BrokerConfig(port=port, protocol=protocol)  # type: ignore[arg-type]
    link = HubLink(
        config,
        on_batch=None,
        on_control=lambda *_: None,
        on_up=on_up,
    )
    link.watch_metadata(lambda: b"own root")
    yield link
    link.stop()


def _codes(caplog: pytest.LogCaptureFixture) -> set[str]:
    return {getattr(record, "code", "") for record in caplog.records}


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """Return the port of a real broker."""
    (tmp_path / "broker").mkdir()
    with mosquitto(tmp_path / "broker") as found:
        yield found


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_two_hubs_on_one_broker_back_off_and_say_it(
    port: int, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Few connections instead of dozens, and a log line with the cure."""
    ups: list[float] = []
    with (
        caplog.at_level(logging.ERROR),
        _link(port, protocol, lambda: ups.append(time.monotonic())) as one,
        _link(port, protocol, lambda: ups.append(time.monotonic())) as other,
    ):
        one.start()
        assert one.wait_up(DEADLINE_S)
        other.start()
        assert _until(lambda: "HUB-LINK-007" in _codes(caplog))
        since = time.monotonic()
        threading.Event().wait(LOOK_S)
        assert sum(at > since for at in ups) <= 2 * LOOK_S
    said = [r for r in caplog.records if getattr(r, "code", "") == "HUB-LINK-007"]
    assert 1 <= len(said) <= 2
    assert "shoal-hub" in str(vars(said[0])["reason"])
    assert "stop one" in str(vars(said[0])["cure"])


def test_a_hub_with_another_root_is_recognised(
    port: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Its retained metadata begins with another root; one's own says nothing."""
    with caplog.at_level(logging.ERROR), _link(port, "auto") as link:
        link.start()
        assert link.wait_up(DEADLINE_S)
        for root, told in (("own root", False), ("another root", True)):
            body = codec.encode(TufBundle(files={"1.root.json": root}))
            assert link.publish(topics.HUB_TUF, body, retain=True)
            if told:
                assert _until(lambda: "HUB-LINK-007" in _codes(caplog))
            else:
                assert "HUB-LINK-007" not in _codes(caplog)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_metadata_beyond_the_brokers_limit_holds_back_no_assignment(
    tmp_path: Path, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Devices get it over HTTP; the hub says which limit it met."""
    (tmp_path / "broker").mkdir()
    create_home(Home(tmp_path / "home"), SystemClock())
    services = open_services(Home(tmp_path / "home"))
    services.releases.publish(
        services.releases.take_in_once(make_bundle(tmp_path / "bundle"))
    )
    with transaction(services.engine) as conn:
        devices.touch(conn, "d1", 1.0)
        services.devices.assign_in(conn, "d1", 1, "r")
    with (
        caplog.at_level(logging.ERROR),
        mosquitto(tmp_path / "broker", "max_packet_size 4200\n") as port,
        _link(port, protocol) as link,
    ):
        link.start()

        def published() -> bool:
            services.devices.flush(
                lambda topic, payload, **how: link.publish(
                    topic, payload, timeout_s=1.0, **how
                ),
                services.releases.tuf_version,
                services.releases.tuf_bundle,
                link.fits,
            )
            with services.engine.connect() as conn:
                row = devices.get_assignment(conn, "d1")
            return row is not None and row.published_at is not None

        assert _until(published)
    assert "HUB-LINK-006" in _codes(caplog)
    services.engine.dispose()
