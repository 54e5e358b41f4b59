"""gRPC is an extra: without it nothing but gRPC is missing."""

import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.config import ApiConfig
from edge_agent.worker_oip import API_UNAVAILABLE, RETRY_S, ApiPorts, OipApi
from tests.fakes.served_models import SumModels
from tests.fakes.worker_device import wait_for


def test_a_device_without_grpc_says_so_once_and_goes_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The cure names the extra; the listener's thread ends with the API."""
    monkeypatch.setitem(sys.modules, "grpc", None)
    monkeypatch.delitem(sys.modules, "edge_agent.serve.oip_grpc.server", raising=False)
    threads: list[threading.Thread] = []

    def spawn(name: str, body: Callable[[], None]) -> None:
        threads.append(threading.Thread(target=body, name=name))
        threads[-1].start()

    api = OipApi(
        ApiConfig(unix=False, grpc="127.0.0.1:1"),
        (tmp_path, tmp_path),
        SumModels(),
        ApiPorts(spawn=spawn, count=lambda _: None, after_reply=lambda: None),
    )
    with caplog.at_level(logging.WARNING):
        api.start()
        assert [thread.name for thread in threads] == ["grpc"]
        wait_for(lambda: bool(caplog.records))
        api.stop()
        threads[0].join(RETRY_S + 5)

    assert not threads[0].is_alive()
    (record,) = [r for r in caplog.records if r.message == API_UNAVAILABLE]
    assert "shoal[grpc]" in record.__dict__["why"]
