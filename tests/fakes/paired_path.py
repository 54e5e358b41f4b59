"""A sample path of scripted releases, with a place for a release in shadow."""

import threading
from collections.abc import Callable, Sequence

import numpy as np

from edge_agent.config import ProfileConfig
from edge_agent.errors import ModelError
from edge_agent.evidence.recorder import Recorder
from edge_agent.pipeline.collect import Collector, CollectState
from edge_agent.pipeline.infer import Ladder, Loaded
from edge_agent.pipeline.owner import Owner
from edge_agent.pipeline.path import PathPorts, SamplePath
from edge_agent.pipeline.prediction import Given, Prediction
from edge_agent.pipeline.shadow import Opened, Role, ShadowPlan, ShadowPorts
from edge_agent.pipeline.shadow_place import Beside
from edge_agent.wire.manifest import InputContract, TensorContract
from edge_agent.wire.profile import Channel, ProfileData, ReferenceProfile, Source
from edge_agent.wire.records import AnyRecord, FeedbackRecord
from tests.fakes.agent_hub import wait_for
from tests.fakes.scripted_link import FakeClock

SAMPLE = np.zeros((4, 2), np.float32)
LABELS = ("up", "down")


def fail() -> int:
    """Fail, as a model does."""
    raise ModelError("AGENT-MODEL-003", "model failed")


class Scripted:
    """A release that answers with the class that ``act`` returns."""

    def __init__(
        self,
        release: int,
        act: Callable[[], int] = lambda: 0,
        labels: Sequence[str] = LABELS,
    ) -> None:
        """Answer for ``release``."""
        self.release = release
        self.act = act
        self.labels = tuple(labels)
        self.asked = 0

    def predict(self, _sample: Given) -> Prediction:
        """Answer."""
        self.asked += 1
        index = self.act()
        return Prediction(
            release=self.release,
            label=self.labels[index],
            index=index,
            confidence=0.75,
            probabilities=np.array([0.75, 0.25], np.float32),
            outputs={},
            inputs=SAMPLE,
            latency_us=10.0,
        )

    def close(self) -> None:
        """Nothing to free."""


class PairedPath:
    """A path, its place for a shadow, and what it recorded."""

    def __init__(self, recorder: Recorder | None = None) -> None:
        """Serve nothing yet."""
        self.records: list[AnyRecord] = []
        self.candidate = Opened(predictor=Scripted(2), labels=LABELS)
        self._owners: list[Owner] = []
        self._threads: list[threading.Thread] = []
        clock = FakeClock()
        self.beside = Beside(
            ShadowPorts(
                clock=clock,
                load=lambda _: self.candidate,
                spawn=self._spawn,
                rss_bytes=lambda: 0,
                give_up=lambda: None,
            )
        )
        self.path = SamplePath(
            ProfileConfig(window_rows=16, window_s=60.0),
            Collector(None, CollectState()),
            PathPorts(
                clock=clock,
                emit=self.records.append,
                save_collect=lambda _: None,
                beside=self.beside,
                recorder=recorder,
            ),
        )

    def load(self, made: Scripted, *, stateful: bool = False) -> Loaded:
        """Give a release its owner."""
        owner = Owner(made, depth=4)
        self._owners.append(owner)
        self._spawn(f"model-{made.release}", owner.run)
        return Loaded(
            owner=owner,
            name="m",
            release=made.release,
            sha256="a" * 64,
            labels=made.labels,
            contract=InputContract(tensor=TensorContract(name="x", shape=[4, 2])),
            outputs=(TensorContract(name="probabilities", shape=[2]),),
            reference=ReferenceProfile(
                model="m",
                channels=[
                    Channel(name="c", source=Source.CLASS, categories=list(made.labels))
                ],
                data=ProfileData(rows=0, counts=[[0, 0]]),
            ),
            reference_sha256="b" * 64,
            stateful=stateful,
        )

    def try_out(self, active: Loaded, candidate: Scripted, ratio: float = 1.0) -> None:
        """Serve a release with a candidate in shadow."""
        self.path.swap(Ladder(active=active))
        self.candidate = Opened(predictor=candidate, labels=candidate.labels)
        plan = ShadowPlan(release=candidate.release, ratio=ratio)
        self.beside.follow(plan, self.path.ladder)
        wait_for(lambda: self.beside.view().ready, "the candidate")

    def swap(self, active: Loaded, previous: Loaded, ratio: float = 1.0) -> None:
        """Serve a release with the one before in shadow, where they compare."""
        self.path.swap(Ladder(active=active, previous=previous))
        plan = ShadowPlan(release=previous.release, ratio=ratio, role=Role.PREVIOUS)
        self.beside.follow(plan, self.path.ladder)
        if self.beside.view().summary.release:
            wait_for(lambda: self.beside.view().ready, "the release before")

    def infer(self, sample_id: str, stream: str = "api") -> None:
        """Answer a request and send its reply."""
        self.path.infer(sample_id, SAMPLE, stream=stream)
        self.beside.after_reply()

    def pair(self, sample_id: str) -> None:
        """Answer a request, and wait until the release in shadow was asked too."""
        before = self.tried()
        self.infer(sample_id)
        wait_for(lambda: self.tried() > before, "the pair")

    def tried(self) -> int:
        """Return how many samples the release in shadow was done with."""
        summary = self.beside.view().summary
        return summary.n + summary.errors + summary.dropped

    def feedback(self, sample_id: str, label: str) -> FeedbackRecord:
        """Tell a label; return its record."""
        assert self.path.feedback(sample_id, label)
        return next(
            one for one in reversed(self.records) if isinstance(one, FeedbackRecord)
        )

    def close(self) -> None:
        """End all threads."""
        self.beside.follow(ShadowPlan(), Ladder())
        for owner in self._owners:
            owner.close()
        for thread in self._threads:
            thread.join(5)

    def _spawn(self, name: str, body: Callable[[], None]) -> None:
        thread = threading.Thread(target=body, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()
