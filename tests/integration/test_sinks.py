"""Sinks on the real thing: a broker, an HTTP server, programs."""

import http.server
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.config_flows import (
    AnySink,
    CommandSink,
    LocalBroker,
    MqttSink,
    Rule,
    WebhookSink,
)
from edge_agent.serve.sinks.opening import open_sinks
from edge_agent.serve.sinks.port import Notice, Sink
from tests.fakes.agent_hub import free_port, running_broker
from tests.fakes.worker_device import wait_for

EVERY = Rule(cooldown_s=0.0)


def notice(number: int, label: str = "fall", confidence: float = 0.9) -> Notice:
    """Return a prediction as sinks take it."""
    return Notice(
        id=f"boot-{number}",
        device="d1",
        stream="imu",
        sample_id=f"imu@{number}",
        label=label,
        confidence=confidence,
        probabilities=[confidence, 1 - confidence],
        served_by="active",
        release=3,
        at=1.5,
    )


@contextmanager
def running(config: AnySink, folder: Path) -> Iterator[Sink]:
    """Run a sink until the block ends."""
    (sink,), bodies = open_sinks([config], folder)
    stop = threading.Event()
    threads = [
        threading.Thread(target=body, args=(stop,), daemon=True)
        for body in (sink.run, *bodies.values())
    ]
    for thread in threads:
        thread.start()
    try:
        yield sink
    finally:
        stop.set()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive(), "a sink does not stop"


class Receiver:
    """An HTTP server that notes requests and answers what it is told to."""

    def __init__(self) -> None:
        """Listen on loopback."""
        self.answers: list[int] = []
        self.bodies: list[dict[str, object]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                outer.times.append(time.monotonic())
                outer.headers.append(dict(self.headers))
                outer.bodies.append(json.loads(self.rfile.read(length)))
                status = outer.answers.pop(0) if outer.answers else 204
                self.send_response(status)
                self.send_header("Content-Length", "0")
                if status == 302:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}/alarm"

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Return a receiver that is closed with the test."""
    made = Receiver()
    yield made
    made.close()


def test_predictions_reach_a_topic(tmp_path: Path) -> None:
    """All of them, as JSON, in order, also those from before the broker was there."""
    number = free_port()
    config = MqttSink(topic="out/predictions", broker=LocalBroker(port=number))
    got: list[dict[str, object]] = []
    with running(config, tmp_path) as sink:
        sink.offer(notice(1), 0.0)
        wait_for(lambda: "refused" in sink.problem.lower())
        with running_broker(tmp_path / "broker", number):
            listener = paho.Client(CallbackAPIVersion.VERSION2)
            listener.on_message = lambda _c, _u, m: got.append(json.loads(m.payload))
            ready = threading.Event()
            listener.on_subscribe = lambda *_: ready.set()
            listener.connect("127.0.0.1", number)
            listener.loop_start()
            listener.subscribe("out/#", 1)
            assert ready.wait(10)
            for n in (2, 3):
                sink.offer(notice(n), 0.0)
            wait_for(lambda: sink.counters.sent == 3)
            wait_for(lambda: bool(got) and got[-1]["id"] == "boot-3")
            listener.disconnect()
            listener.loop_stop()
    # The first may have gone out before the listener was there.
    assert [one["id"] for one in got][-2:] == ["boot-2", "boot-3"]
    assert got[-1]["label"] == "fall"
    assert got[-1]["stream"] == "imu"


def test_a_webhook_is_called_when_the_rule_is_fulfilled(
    tmp_path: Path, receiver: Receiver
) -> None:
    """Two in a row call it, with the token from its file, as it is now."""
    token = tmp_path / "token"
    token.write_text("first\n")
    rule = Rule(labels=["fall"], windows=2, cooldown_s=10)
    config = WebhookSink(url=receiver.url, rule=rule, token_file="token")  # noqa: S106
    with running(config, tmp_path) as sink:
        for at, label in enumerate(["fall", "walk", "fall", "fall", "fall"]):
            sink.offer(notice(at, label), float(at))
        wait_for(lambda: sink.counters.sent == 1)
        token.write_text("second")
        sink.offer(notice(99), 50.0)
        wait_for(lambda: sink.counters.sent == 2)
    assert [body["id"] for body in receiver.bodies] == ["boot-3", "boot-99"]
    assert receiver.headers[0]["Authorization"] == "Bearer first"
    assert receiver.headers[1]["Authorization"] == "Bearer second"
    assert receiver.headers[0]["Idempotency-Key"] == "boot-3"


def test_a_receiver_that_is_busy_is_asked_again(
    tmp_path: Path, receiver: Receiver
) -> None:
    """503 and 429 pass; the same notice comes again under the same id."""
    receiver.answers = [503, 429, 200]
    with running(WebhookSink(url=receiver.url, rule=EVERY), tmp_path) as sink:
        sink.offer(notice(1), 0.0)
        wait_for(lambda: sink.counters.sent == 1)
    assert [body["id"] for body in receiver.bodies] == ["boot-1"] * 3
    assert not sink.problem


@pytest.mark.parametrize("status", [400, 401, 302])
def test_a_refusal_is_final(tmp_path: Path, receiver: Receiver, status: int) -> None:
    """What is wrong now is wrong later; a redirect is not followed."""
    receiver.answers = [status]
    with running(WebhookSink(url=receiver.url, rule=EVERY), tmp_path) as sink:
        sink.offer(notice(1), 0.0)
        wait_for(lambda: sink.counters.failed == 1)
        assert str(status) in sink.problem
    assert len(receiver.bodies) == 1


def test_attempts_end(tmp_path: Path) -> None:
    """A receiver that is not there costs so many attempts and no more."""
    url = f"http://127.0.0.1:{free_port()}/"
    config = WebhookSink(url=url, rule=EVERY, attempts=2, timeout_s=2)
    with running(config, tmp_path) as sink:
        sink.offer(notice(1), 0.0)
        wait_for(lambda: sink.counters.failed == 1)
        assert "refused" in sink.problem.lower()


def test_a_missing_token_sends_nothing(tmp_path: Path, receiver: Receiver) -> None:
    """Better no call than one without its proof."""
    config = WebhookSink(
        url=receiver.url,
        rule=EVERY,
        attempts=1,
        token_file="none",  # noqa: S106 - the name of a file
    )
    with running(config, tmp_path) as sink:
        sink.offer(notice(1), 0.0)
        wait_for(lambda: sink.counters.failed == 1)
    assert receiver.bodies == []


def test_a_slow_receiver_holds_nobody_up(tmp_path: Path) -> None:
    """The queue is bounded: what it drops is counted, and offering never waits."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    config = CommandSink(argv=["cat", str(gate)], rule=EVERY, queue=3, timeout_s=60)
    with running(config, tmp_path) as sink:
        sink.offer(notice(0), 0.0)
        wait_for(lambda: not sink._queue._items)
        started = time.monotonic()
        for number in range(1, 1001):
            sink.offer(notice(number), float(number))
        assert time.monotonic() - started < 5
        gate.open("w").close()
        wait_for(lambda: sink.counters.sent == 1)
        wait_for(lambda: sink.counters.dropped == 997)


def test_a_command_gets_the_prediction_on_its_input(tmp_path: Path) -> None:
    """As JSON; its arguments are the configuration's, whatever the label says."""
    out = tmp_path / "out"
    code = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read() + chr(10))"
    config = CommandSink(argv=[sys.executable, "-c", code, str(out)], rule=EVERY)
    label = '$(touch pwned); "; rm -rf /'
    with running(config, tmp_path) as sink:
        sink.offer(notice(1, label), 0.0)
        sink.offer(notice(2), 1.0)
        wait_for(lambda: sink.counters.sent == 2)
    said = [json.loads(line) for line in out.read_text().splitlines()]
    assert [one["label"] for one in said] == [label, "fall"]


def test_a_command_sees_no_secrets_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the environment it gets the search path only."""
    monkeypatch.setenv("SHOAL_AGENT_X", "secret")
    out = tmp_path / "out"
    config = CommandSink(argv=["/bin/sh", "-c", f"env > {out}"], rule=EVERY)
    with running(config, tmp_path) as sink:
        sink.offer(notice(1), 0.0)
        wait_for(lambda: sink.counters.sent == 1)
    names = {line.partition("=")[0] for line in out.read_text().splitlines()}
    assert names <= {"PATH", "PWD", "SHLVL", "_", "OLDPWD"}


def test_a_command_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    """At the deadline the whole group goes; the next notice has its turn."""
    pids = tmp_path / "pids"
    script = f"echo $$ >> {pids}; sleep 300 & echo $! >> {pids}; wait"
    config = CommandSink(argv=["/bin/sh", "-c", script], rule=EVERY, timeout_s=1.0)
    with running(config, tmp_path) as sink:
        sink.offer(notice(1), 0.0)
        wait_for(lambda: sink.counters.failed == 1)
        assert "longer than 1 s" in sink.problem
    for pid in map(int, pids.read_text().split()):
        wait_for(lambda pid=pid: not _lives(pid))  # type: ignore[misc]


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2]
    except FileNotFoundError:
        return False
    return state.split()[0] != "Z"


@pytest.mark.parametrize(
    ("argv", "what"), [(["/no/such/program"], "No such file"), (["false"], "status 1")]
)
def test_a_command_that_fails_is_counted(
    tmp_path: Path, argv: list[str], what: str
) -> None:
    """It is not there, or says so by its status."""
    with running(CommandSink(argv=argv, rule=EVERY), tmp_path) as sink:
        sink.offer(notice(1), 0.0)
        wait_for(lambda: sink.counters.failed == 1)
        assert what in sink.problem
