"""The worker's HTTP API: a real process, real models, what lands in the outbox."""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from edge_agent.wire.records import FeedbackRecord, ProfileRecord
from edge_agent.wire.topics import Lane
from tests.fakes.agent_hub import free_port
from tests.fakes.worker_device import LABELS, Device, samples, wait_for

INFER = "/v2/models/tiny/infer"


class Api:
    """A device with a port, and one client of it."""

    def __init__(self, folder: Path, more: str = "") -> None:
        """Write its configuration."""
        self.device = Device(folder)
        self.port = free_port()
        with self.device.config.open("a") as file:
            file.write(f'[api]\nhttp = "127.0.0.1:{self.port}"\n{more}')

    def start(self) -> None:
        """Start it and wait until HTTP answers."""
        self.device.start()
        wait_for(self._answers)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            return self.ask("GET", "/v2/health/live")[0] in {200, 401}
        return False

    def ask(
        self, method: str, path: str, document: object = None, **fields: str
    ) -> tuple[int, Any]:
        """Send one request."""
        body = None if document is None else json.dumps(document)
        client = HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(client):
            client.request(method, path, body, fields)
            response = client.getresponse()
            raw = response.read()
            kind = response.headers["Content-Type"]
            return response.status, json.loads(raw) if "json" in kind else raw.decode()

    def infer(
        self, rows: "np.ndarray[Any, Any]", path: str = INFER, sample_id: str = ""
    ) -> tuple[int, Any]:
        """Infer rows as JSON."""
        tensor = {"name": "x", "datatype": "FP32", "shape": list(rows.shape)}
        inputs = [tensor | {"data": rows.tolist()}]
        return self.ask("POST", path, {"id": sample_id, "inputs": inputs})


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """A device whose worker is ended with the test."""
    made = Api(tmp_path)
    yield made
    made.device.kill()


def test_samples_over_http_are_samples_like_any_other(api: Api) -> None:
    """They are profiled, counted, remembered and joined with their labels."""
    api.start()
    rows = samples(23)
    for n in range(20):
        status, reply = api.infer(rows[n : n + 1], sample_id=f"s{n}")
        assert status == 200
        assert reply["parameters"]["served_by"] == "active"
    framed = api.device.client.infer("framed", rows[0])
    (probabilities,) = (
        one["data"] for one in reply["outputs"] if one["name"] == "probabilities"
    )
    assert reply["parameters"]["label"] == LABELS[int(np.argmax(probabilities))]
    status, reply = api.infer(rows[:1])
    assert [o["data"] for o in reply["outputs"] if o["name"] == "probabilities"] == [
        framed.probabilities
    ]
    made_up = reply["parameters"]["sample_id"]
    for sample_id in ("s3", "s3", made_up):
        told = {"id": sample_id, "label": LABELS[0]}
        assert api.ask("POST", "/feedback", told) == (200, {})
    assert api.ask("POST", "/feedback", {"id": "s", "label": LABELS[0]})[0] == 404
    status, error = api.ask("POST", "/feedback", {"id": "s3", "label": "none"})
    assert status == 422
    assert LABELS[6] in error["error"]
    assert api.device.stop() == 0
    records = api.device.records(Lane.METRIC)
    told_of = [r.sample_id for r in records if isinstance(r, FeedbackRecord)]
    assert told_of == ["s3", made_up]
    profiles = [r for r in records if isinstance(r, ProfileRecord)]
    assert [p.profile.rows for p in profiles] == [20, 2]


def test_bad_samples_are_refused_and_counted(api: Api) -> None:
    """As over the framed socket, by reason."""
    api.start()
    wild = samples(1)
    wild[0, 0, 0] = 51.0
    for rows in (wild, samples(1)[:, :99], samples(1)[:, :, :5]):
        status, error = api.infer(rows)
        assert status == 422
        assert "AGENT-SAMPLE-001" in error["error"]
    tensor: dict[str, object] = {"name": "x", "datatype": "INT8", "shape": [1, 1]}
    tensor["data"] = [1]
    assert api.ask("POST", INFER, {"inputs": [tensor]})[0] == 422
    wrong: list[dict[str, object]] = [{"name": "y"}, {"shape": []}, {"shape": [257, 1]}]
    for fields in wrong:
        tensor |= fields | {"data": [0] * 257}
        assert api.ask("POST", INFER, {"inputs": [tensor]})[0] == 400
    stats = api.device.client.stats()
    assert stats.rejected_by_reason == {"range": 1, "shape": 2, "dtype": 1}


def test_rows_are_samples_with_numbered_ids(api: Api) -> None:
    """One reply holds all rows; a bad one refuses the request and is named."""
    api.start()
    rows = samples(5)
    status, reply = api.infer(rows, sample_id="many")
    assert status == 200
    assert all(one["shape"][0] == 5 for one in reply["outputs"])
    ids = [one.sample_id for one in api.device.client.recent()]
    assert ids == [f"many#{n}" for n in range(5)]
    (probabilities,) = (
        one["data"] for one in reply["outputs"] if one["name"] == "probabilities"
    )
    made = api.device.client.infer("one", rows[4]).probabilities
    assert probabilities[-7:] == made
    rows[3, 0, 0] = 51.0
    status, error = api.infer(rows)
    assert status == 422
    assert "row 3" in error["error"]
    assert api.infer(rows, sample_id="x" * 121)[0] == 400


def test_active_and_previous_are_versions(api: Api) -> None:
    """Each can be asked alone; what is asked of the one before is not the active's."""
    api.device.assign(active=2, previous=1)
    api.start()
    for version in ("1", "2"):
        path = f"/v2/models/tiny/versions/{version}/infer"
        status, reply = api.infer(samples(1), path)
        assert (status, reply["model_version"]) == (200, version)
        served_by = {"1": "previous", "2": "active"}[version]
        assert reply["parameters"]["served_by"] == served_by
    stats = api.device.client.stats()
    assert (stats.predictions, stats.errors) == (1, 0)
    assert stats.total.predictions == 2
    api.device.assign(active=2)
    api.device.client.reload()
    assert api.infer(samples(1), "/v2/models/tiny/versions/1/infer")[0] == 404
    assert api.infer(samples(1))[1]["model_version"] == "2"


def test_without_a_model_it_is_live_and_says_what_is_missing(api: Api) -> None:
    """The rule keeps it ready, and no model of any name is there."""
    api.device.assign(active=0)
    api.start()
    assert api.ask("GET", "/v2/health/ready") == (200, {"ready": True})
    status, error = api.infer(samples(1))
    assert status == 404
    assert "no release is active" in error["error"]
    assert api.ask("POST", "/v2/repository/index") == (200, [])


def test_a_swap_under_load_fails_no_request(api: Api) -> None:
    """Requests of one and of several rows are answered while releases change."""
    api.start()
    statuses: list[tuple[int, Any]] = []
    done = threading.Event()

    def load() -> None:
        while not done.is_set():
            statuses.append(api.infer(samples(1)))

    thread = threading.Thread(target=load)
    thread.start()
    try:
        for active, previous in ((2, 1), (1, 2), (2, 0), (1, 0)):
            seen = len(statuses)
            wait_for(lambda seen=seen: len(statuses) > seen + 5)  # type: ignore[misc]
            api.device.assign(active=active, previous=previous)
            assert not api.device.client.reload().problem
    finally:
        done.set()
        thread.join()
    assert [one for one in statuses if one[0] != 200] == []
    assert {reply["model_version"] for _, reply in statuses} == {"1", "2"}


def test_prometheus_reads_the_workers_figures(api: Api) -> None:
    """Predictions, refusals, latency, releases, answers and what waits to be sent."""
    api.device.assign(active=1, previous=2)
    api.start()
    for n in range(3):
        api.infer(samples(3)[n : n + 1])
    api.infer(samples(1)[:, :9])
    wait_for(lambda: api.device.client.stats().predictions == 3)
    status, text = api.ask("GET", "/metrics")
    assert status == 200
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            label = next(iter(sample.labels.values()), "")
            found.setdefault(sample.name, {})[label] = sample.value
    assert found["shoal_predictions_total"] == {"": 3}
    assert found["shoal_rejected_total"] == {"shape": 1}
    assert found["shoal_prediction_seconds_count"] == {"": 3}
    assert found["shoal_release_info"] == {"active": 1, "previous": 1}
    assert found["shoal_http_responses_total"]["422"] == 1
    assert set(found["shoal_outbox_pending_records"]) == {lane.value for lane in Lane}


def test_a_release_in_shadow_sees_requests_over_http(api: Api) -> None:
    """After their reply; Prometheus reads how many were compared."""
    api.start()
    api.device.try_out(2)
    api.device.client.reload()
    wait_for(lambda: api.device.client.shadow().ready)
    for n in range(1, 6):
        assert api.infer(samples(1))[1]["model_version"] == "1"
        wait_for(lambda n=n: api.device.client.shadow().summary.n == n)  # type: ignore[misc]
    text = api.ask("GET", "/metrics")[1]
    assert 'shoal_shadow_samples{release="2",outcome="compared"} 5\n' in text


def test_the_unix_socket_is_there_by_default(api: Api) -> None:
    """For the agent's own user; it goes with the worker."""
    api.start()
    path = api.device.state / "http.sock"
    assert path.stat().st_mode & 0o777 == 0o600
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(20)
        raw.connect(str(path))
        raw.sendall(b"GET /v2 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 200 ")
    assert api.device.stop() == 0
    assert not path.exists()


def test_a_taken_port_stops_no_inference(api: Api) -> None:
    """The framed socket answers; HTTP comes when the port is free."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", api.port))
        holder.listen()
        api.device.start()
        assert api.device.client.infer("s", samples(1)[0]).served_by == "active"
    wait_for(api._answers)
    assert api.device.stop() == 0


def test_a_token_guards_the_port(tmp_path: Path) -> None:
    """Not the Unix socket, which the kernel guards."""
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    token.chmod(0o600)
    api = Api(tmp_path, 'token_file = "token"\n')
    try:
        api.start()
        assert api.ask("GET", "/metrics")[0] == 401
        assert api.ask("GET", "/metrics", Authorization="Bearer s3cret")[0] == 200
        with socket.socket(socket.AF_UNIX) as raw:
            raw.settimeout(20)
            raw.connect(str(api.device.state / "http.sock"))
            raw.sendall(b"GET /v2 HTTP/1.1\r\nHost: a\r\n\r\n")
            assert raw.recv(100).startswith(b"HTTP/1.1 200 ")
    finally:
        api.device.kill()
