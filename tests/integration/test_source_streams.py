"""Sources that are streams: a CSV at a rate, a topic of a real broker, a camera."""

import json
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.base.clock import SystemClock
from edge_agent.config_flows import (
    CameraSource,
    CsvSource,
    LocalBroker,
    MqttSource,
)
from edge_agent.errors import AgentError
from edge_agent.serve.sources.camera import Camera, Capture, Frame
from edge_agent.serve.sources.csv_replay import CsvReplay
from edge_agent.serve.sources.mqtt import Mqtt
from edge_agent.serve.sources.opencv import open_camera
from tests.fakes.agent_hub import free_port, running_broker
from tests.fakes.asked_model import AskedModel, contract_of, running
from tests.fakes.worker_device import wait_for

IMU = contract_of(4, 2, hop=2, axes="xy")


def test_a_csv_is_played_at_its_rate_over_and_over(tmp_path: Path) -> None:
    """Six rows a cycle, windows of four every two: two a cycle, none over the seam."""
    (tmp_path / "a.csv").write_text("x,y\n" + "1,2\n" * 6)
    model = AskedModel(IMU)
    source = CsvReplay(CsvSource(path="a.csv", rate=50.0), tmp_path, model.ports)
    clock = SystemClock()
    started = clock.mono()
    with running(source):
        model.wait(lambda: len(model.ids) >= 8)
        took_s = clock.mono() - started
    assert model.ids[:4] == ["csv@0#0", "csv@2#0", "csv@0#1", "csv@2#1"]
    # 24 rows at 50 a second are 0.48 s, the last two of them after the last window.
    assert took_s > 0.4


def test_a_csv_can_be_played_once(tmp_path: Path) -> None:
    """Without repeat it ends, and says that it did."""
    (tmp_path / "a.csv").write_text("1,2\n" * 6)
    model = AskedModel(IMU)
    config = CsvSource(path="a.csv", rate=1000.0, repeat=False)
    source = CsvReplay(config, tmp_path, model.ports)
    with running(source):
        wait_for(lambda: "to its end" in source.problem)
    assert model.ids == ["csv@0#0", "csv@2#0"]


def test_a_csv_that_is_not_there_is_named_and_tried_again(tmp_path: Path) -> None:
    """It may come later."""
    model = AskedModel(IMU)
    source = CsvReplay(CsvSource(path="a.csv", rate=1000.0), tmp_path, model.ports)
    with running(source):
        wait_for(lambda: "a.csv" in source.problem)
        (tmp_path / "a.csv").write_text("1,2\n" * 6)
        model.wait(lambda: len(model.ids) > 0)
        assert not source.problem


class Sensor:
    """Publishes to a broker of this machine, message by message."""

    def __init__(self, port: int, password: str = "") -> None:
        """Connect."""
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        if password:
            self._client.username_pw_set("sensor", password)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def say(self, topic: str, payload: bytes | str) -> None:
        """Publish and wait until the broker has it."""
        self._client.publish(topic, payload, qos=1).wait_for_publish(10)

    def close(self) -> None:
        """Leave."""
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """Return the port of a broker that runs during the test."""
    number = free_port()
    with running_broker(tmp_path / "broker", number):
        yield number


def _mqtt(
    model: AskedModel,
    port: int,
    *,
    topic: str = "imu/+",
    raw: bool = False,
    queue: int = 256,
) -> Mqtt:
    config = MqttSource(
        topic=topic,
        payload="float32" if raw else "json",
        broker=LocalBroker(port=port),
        queue=queue,
    )
    return Mqtt(config, Path(), model.ports)


def test_rows_of_topics_become_windows_of_their_own(port: int) -> None:
    """Two sensors on two topics do not mix; lists and objects are both rows."""
    model = AskedModel(IMU)
    source = _mqtt(model, port)
    with running(source):
        wait_for(lambda: not source.problem)
        sensor = Sensor(port)
        for n in range(6):
            sensor.say("imu/left", json.dumps([n, -n]))
            sensor.say("imu/right", json.dumps({"y": 10 * n, "x": n, "t": 5}))
        model.wait(lambda: len(model.ids) == 4)
        sensor.close()
    assert model.ids == [
        "imu/left@0#1",
        "imu/right@0#1",
        "imu/left@2#1",
        "imu/right@2#1",
    ]
    assert set(model.streams) == {"mqtt/imu/left", "mqtt/imu/right"}
    assert model.values[0].tolist() == [[0, 0], [1, -1], [2, -2], [3, -3]]
    assert model.values[3].tolist() == [[2, 20], [3, 30], [4, 40], [5, 50]]


def test_raw_numbers_are_rows_too(port: int) -> None:
    """Little-endian float32, as a microcontroller sends them."""
    model = AskedModel(IMU)
    source = _mqtt(model, port, raw=True)
    with running(source):
        wait_for(lambda: not source.problem)
        sensor = Sensor(port)
        sensor.say("imu/a", np.arange(12, dtype="<f4").tobytes())
        sensor.say("imu/a", b"123")
        sensor.say("imu/a", np.arange(8, dtype="<f4").tobytes())
        model.wait(lambda: len(model.ids) == 3)
        sensor.close()
    # What is no row ends the window that was open.
    assert model.ids == ["imu/a@0#1", "imu/a@2#1", "imu/a@6#1"]
    assert source.counters.rejected == 1
    assert source.counters.answered == 3


def test_a_slow_model_gets_the_newest_and_the_rest_is_counted(port: int) -> None:
    """The queue is bounded; what it drops leaves a gap that no window spans."""
    model = AskedModel(contract_of(1, 2, hop=1))
    model.may_answer.clear()
    source = _mqtt(model, port, topic="imu", queue=4)
    with running(source):
        wait_for(lambda: not source.problem)
        sensor = Sensor(port)
        sensor.say("imu", "[0, 0]")
        model.wait(lambda: len(model.ids) == 1)
        for n in range(1, 51):
            sensor.say("imu", f"[{n}, {n}]")
        wait_for(lambda: source._queue._number == 51)
        model.may_answer.set()
        model.wait(lambda: len(model.ids) == 5)
        wait_for(lambda: source.counters.dropped == 46)
        sensor.close()
    assert [int(value[0, 0]) for value in model.values] == [0, 47, 48, 49, 50]


def test_a_broker_that_was_away_is_found_again(tmp_path: Path) -> None:
    """The source connects again by itself; windows do not span the time between."""
    model = AskedModel(IMU)
    number = free_port()
    source = _mqtt(model, number, topic="imu")
    with running(source):
        wait_for(lambda: "refused" in source.problem.lower())
        for session in (1, 2):
            with running_broker(tmp_path / f"broker-{session}", number):
                wait_for(lambda: not source.problem)
                sensor = Sensor(number)
                for _ in range(4):
                    sensor.say("imu", "[1, 2]")
                model.wait(lambda session=session: len(model.ids) == session)  # type: ignore[misc]
                sensor.close()
            wait_for(lambda: bool(source.problem))
    assert model.ids == ["imu@0#1", "imu@4#2"]


def test_a_broker_that_asks_for_a_password_gets_it_from_a_file(
    tmp_path: Path,
) -> None:
    """The password is in a file, and a wrong one is said to be so."""
    model = AskedModel(contract_of(1, 2, hop=1))
    number = free_port()
    broker = tmp_path / "broker"
    broker.mkdir()
    (tmp_path / "secret").write_text("wrong\n")
    config = MqttSource(
        topic="imu",
        broker=LocalBroker(
            port=number,
            username="sensor",
            password_file="secret",  # noqa: S106 - the name of a file
        ),
    )
    with running_broker(broker, number, passwords={"sensor": "right"}):
        source = Mqtt(config, tmp_path, model.ports)
        with running(source):
            wait_for(lambda: "uthori" in source.problem)
            (tmp_path / "secret").write_text("right\n")
            wait_for(lambda: not source.problem)
            sensor = Sensor(number, "right")
            sensor.say("imu", "[1, 2]")
            model.wait(lambda: len(model.ids) == 1)
            sensor.close()


def _video(path: Path, frames: int) -> None:
    codec = cv2.VideoWriter.fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(path), codec, 10.0, (32, 24))
    for number in range(frames):
        frame = np.zeros((24, 32, 3), np.uint8)
        frame[..., 2] = 20 * number  # OpenCV's order: blue, green, red.
        writer.write(frame)
    writer.release()


def test_frames_of_a_video_are_samples(tmp_path: Path) -> None:
    """RGB and in order, late ones are counted; at its end the file is opened again."""
    _video(tmp_path / "a.avi", 5)
    model = AskedModel(contract_of(24, 32, 3))
    config = CameraSource(device="a.avi", rate=50.0)
    source = Camera(config, tmp_path, model.ports, open_camera)
    with running(source):
        model.wait(lambda: len(model.ids) >= 8)
    reds = [round(float(value[..., 0].mean()) / 20) for value in model.values[:8]]
    left_out = sum((after - before - 1) % 5 for before, after in pairwise(reds))
    assert left_out <= source.counters.dropped
    assert all(float(value[..., 2].max()) < 10 for value in model.values[:8])
    assert source.counters.answered >= 8


def test_frames_may_be_grey_and_of_a_wrong_size(tmp_path: Path) -> None:
    """Channels are converted, sizes are not: the model's shape decides."""
    _video(tmp_path / "a.avi", 3)
    model = AskedModel(contract_of(24, 32, 1))
    config = CameraSource(device="a.avi", rate=100.0)
    with running(Camera(config, tmp_path, model.ports, open_camera)):
        model.wait(lambda: len(model.ids) >= 3)
    assert model.values[2].shape == (24, 32, 1)
    small = AskedModel(contract_of(12, 16, 3))
    source = Camera(config, tmp_path, small.ports, open_camera)
    with running(source):
        wait_for(lambda: source.counters.rejected >= 3)


def test_a_camera_that_is_not_there_is_named(tmp_path: Path) -> None:
    """And tried again; nothing falls over."""
    model = AskedModel(contract_of(24, 32, 3))
    config = CameraSource(device="door.avi")
    source = Camera(config, tmp_path, model.ports, open_camera)
    with running(source):
        wait_for(lambda: "AGENT-SOURCE-003" in source.problem)


class LiveCapture:
    """A camera whose frames come by themselves, each with its number in it."""

    is_live = True

    def __init__(self, frames_per_s: float) -> None:
        """Begin with frame 0."""
        self._pause_s = 1 / frames_per_s
        self._number = 0

    def skip(self) -> bool:
        """Wait for a frame and forget it."""
        threading.Event().wait(self._pause_s)
        self._number += 1
        return True

    def read(self) -> Frame | None:
        """Wait for a frame and return it."""
        self.skip()
        return np.full((2, 2, 3), self._number % 256, np.uint8)

    def close(self) -> None:
        """Nothing is held."""


def test_a_camera_never_waits_for_the_model(tmp_path: Path) -> None:
    """While the model is busy, old frames go and the newest two are kept."""
    model = AskedModel(contract_of(2, 2, 3))
    model.may_answer.clear()

    def live(_device: str, size: tuple[int, int]) -> Capture:
        assert size == (2, 2)
        return LiveCapture(1000.0)

    source = Camera(CameraSource(rate=200.0), tmp_path, model.ports, live)
    with running(source):
        model.wait(lambda: len(model.ids) == 1)
        wait_for(lambda: source._frames._number >= 20)
        model.may_answer.set()
        model.wait(lambda: len(model.ids) == 4)
        wait_for(lambda: source.counters.dropped >= 10)
    # The picture that was waited with is followed by one that is much newer.
    assert int(model.ids[1].partition("@")[2]) == 1
    assert model.values[1].max() - model.values[0].max() >= 10


def test_a_missing_library_is_said_with_its_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever did not install the extra is told which one."""
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(AgentError) as caught:
        open_camera(str(tmp_path / "a.avi"), (2, 2))
    assert caught.value.code == "AGENT-SOURCE-002"
    assert "shoal[camera]" in caught.value.cure
