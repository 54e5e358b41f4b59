"""How soon the release before serves: after a breach, and after a worker's death.

A real agent with its worker; a local application asks all the time and notes which
release answers.
"""

import os
import signal
import statistics
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from msgspec.structs import replace

from edge_agent.child import CRASH_WINDOW_S, HEALTHY_AFTER_S
from edge_agent.errors import AgentError
from edge_agent.pipeline.prediction import Sample
from edge_agent.runtime.litert import load_model
from edge_agent.serve.client import Client
from edge_agent.wire.records import UpdateRecord
from edge_agent.wire.topics import Lane
from tests.fakes.agent_hub import (
    AgentHub,
    artifact_server,
    free_port,
    running_broker,
    wait_for,
)
from tests.fakes.agent_process import DEVICE, Agent
from tests.fakes.releases import MODEL, assign, make_release, samples
from tests.fakes.tuf_repository import TufRepository
from tests.perf.report import Metric

ROUNDS = 5
RESTARTS = 3
"""Each needs a worker that has lived for half a minute: it is not restarted slowly."""
ENOUGH = 50
"""Predictions by which a probation may decide, and a baseline exists."""
ASK_EVERY_S = 0.002


@dataclass(slots=True)
class Asker:
    """Asks with one sample; notes when each answer came and of which release."""

    socket: Path
    answers: list[tuple[float, int]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Ask until stopped."""
        sample = samples(1)[0]
        with Client(self.socket, 5.0) as client:
            while not self.stop.wait(ASK_EVERY_S):
                try:
                    made = client.infer("s", sample)
                except AgentError:
                    continue
                release = made.release if made.served_by == "active" else 0
                self.answers.append((time.time(), release))

    def first(self, release: int, *, after: float, number: int = 1) -> float:
        """Return when answer ``number`` of a release came, after a moment."""
        times: list[float] = []

        def there() -> bool:
            times[:] = [t for t, r in list(self.answers) if r == release and t > after]
            return len(times) >= number

        wait_for(there, f"answer {number} of release {release}", timeout_s=60)
        return times[number - 1]


class Scene:
    """An agent whose only samples are the asker's, with release 1 committed."""

    def __init__(
        self, folder: Path, port: int, url: str, blobs: dict[str, bytes]
    ) -> None:
        """Start it; ``blobs`` is what the artifact server at ``url`` has."""
        self._url, self._blobs, self._seq = url, blobs, 0
        self._repository = TufRepository()
        root = self._repository.root_versions[0]
        self.agent = Agent(folder / "agent", port, root)
        before, _, rest = self.agent.config.read_text().partition("[source]")
        self.agent.config.write_text(before + rest[rest.index("[health]") :])
        self.hub = AgentHub(port, DEVICE)
        self.asker = Asker(folder / "agent" / "state" / "agent.sock")
        self._thread = threading.Thread(target=self.asker.run, name="asker")
        self.surer, self.other = _by_confidence(samples(1)[0])
        self.agent.start()
        self._thread.start()

    def close(self) -> None:
        """End everything."""
        self.asker.stop.set()
        self._thread.join()
        self.agent.stop()
        self.hub.close()

    def roll_out(self, source: Path, *, strict: bool) -> int:
        """Assign a new release of a model; return its number."""
        self._seq += 1
        made = make_release(self._repository, self._seq, source=source)
        self._blobs.update(made.artifacts)
        wanted = assign(made, DEVICE, self._seq, self._url)
        policy = replace(
            wanted.probation,
            min_predictions=ENOUGH,
            confidence_drop_max=0.0 if strict else 1.0,
            latency_ratio_max=1000.0,
        )
        wanted = replace(wanted, probation=policy, forced=True)
        self.hub.metadata(self._repository.bundle())
        self.hub.desire(self._repository.assign(wanted))
        return self._seq

    def wait_for_end(self, seq: int) -> str:
        """Return how an assignment ended."""
        wait_for(lambda: self._end(seq), "the end of an activation", timeout_s=60)
        return self._end(seq)

    def _end(self, seq: int) -> str:
        records = self.hub.model.records(Lane.STATE)
        ends = [r for r in records if isinstance(r, UpdateRecord) and r.outcome]
        return next((r.outcome for r in ends if r.assignment_seq == seq), "")


def measure(folder: Path) -> list[Metric]:
    """Return medians and the worst of several rollbacks and restarts."""
    port, blobs = free_port(), dict[str, bytes]()
    with (
        running_broker(folder / "broker", port),
        artifact_server(blobs) as (url, _),
    ):
        scene = Scene(folder, port, url, blobs)
        try:
            good = scene.roll_out(scene.surer, strict=False)
            scene.asker.first(good, after=0.0, number=ENOUGH)
            scene.wait_for_end(good)
            rollbacks = [_roll_back(scene, good) for _ in range(ROUNDS)]
            deaths = [_restart(scene, good, signal.SIGKILL) for _ in range(RESTARTS)]
            hangs = [_restart(scene, good, signal.SIGSTOP) for _ in range(RESTARTS)]
        finally:
            scene.close()
    return [
        Metric(
            name="rollback",
            value=statistics.median(rollbacks),
            unit="s from breach to the release before serving",
            at_most=1,
        ),
        Metric(name="rollback_worst", value=max(rollbacks), unit="s", at_most=1),
        Metric(
            name="worker_restart",
            value=statistics.median(deaths),
            unit="s from its death to the next answer",
            at_most=1,
        ),
        Metric(
            name="hung_worker_restart",
            value=statistics.median(hangs),
            unit="s from finding out to the next answer",
            at_most=1,
        ),
    ]


def _roll_back(scene: Scene, good: int) -> float:
    """Return how long a release that breaches its probation went on serving."""
    before = time.time()
    bad = scene.roll_out(scene.other, strict=True)
    breach = scene.asker.first(bad, after=before, number=ENOUGH)
    back = scene.asker.first(good, after=breach)
    assert scene.wait_for_end(bad) == "rolled_back"
    return back - breach


def _restart(scene: Scene, good: int, number: signal.Signals) -> float:
    """Return how long nothing answered, since the agent knew that the worker ended."""
    time.sleep(max(CRASH_WINDOW_S, HEALTHY_AFTER_S) + 1)
    pid = int(str(scene.agent.events("worker.started")[-1]["pid"]))
    event = "worker.hung" if number is signal.SIGSTOP else "worker.died"
    known = len(scene.agent.events(event))
    os.kill(pid, number)
    wait_for(lambda: len(scene.agent.events(event)) > known, event, timeout_s=60)
    at = datetime.fromisoformat(str(scene.agent.events(event)[-1]["at"])).timestamp()
    return scene.asker.first(good, after=at) - at


def _by_confidence(sample: Sample) -> list[Path]:
    """Return the model that is surer of a sample, then the other."""

    def confidence(path: Path) -> float:
        made = load_model(path.read_bytes()).predict(sample)
        return float(made["probabilities"].max())

    models = [MODEL, MODEL.with_name("tiny-int8.tflite")]
    return sorted(models, key=confidence, reverse=True)
