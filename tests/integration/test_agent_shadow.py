"""SHADOW end to end on a device: agent, broker, real models, and what the hub hears."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from edge_agent.wire.control import ShadowPolicy
from edge_agent.wire.records import ShadowSummary, UpdateRecord
from edge_agent.wire.topics import Lane
from tests.fakes.agent_hub import (
    AgentHub,
    artifact_server,
    free_port,
    running_broker,
    wait_for,
)
from tests.fakes.agent_process import DEVICE, Agent
from tests.fakes.releases import LABELS, MadeRelease, assign, make_release
from tests.fakes.tuf_repository import TufRepository

POLICY = ShadowPolicy(
    sample_ratio=1.0, min_samples=5, min_s=0.2, deadline_s=90.0, latency_ratio_max=100
)


class Device:
    """An agent that runs release 1, its hub, and release 2 to try."""

    def __init__(self, folder: Path, labels: list[str]) -> None:
        """Make both releases; ``labels`` are those of release 2."""
        self.repository = TufRepository()
        self.releases = [
            make_release(self.repository, 1),
            make_release(self.repository, 2, labels=labels),
        ]
        self.port = free_port()
        root = self.repository.root_versions[0]
        self.agent = Agent(folder / "agent", self.port, root)

    def roll_out(self, hub: AgentHub, made: MadeRelease, url: str) -> None:
        """Assign a release, with a shadow."""
        hub.metadata(self.repository.bundle())
        wanted = replace(assign(made, DEVICE, made.number, url), shadow=POLICY)
        hub.desire(self.repository.assign(wanted))


def updates(hub: AgentHub) -> list[UpdateRecord]:
    """Return what the hub heard of activations."""
    return [r for r in hub.model.records(Lane.STATE) if isinstance(r, UpdateRecord)]


def outcomes(hub: AgentHub) -> list[tuple[int, str, str]]:
    """Return the ends of activations that the hub heard of."""
    return [(u.release, u.outcome, u.code) for u in updates(hub) if u.outcome]


def summaries(hub: AgentHub) -> list[ShadowSummary]:
    """Return what the hub heard of shadows."""
    return [u.shadow for u in updates(hub) if u.shadow is not UNSET]


@contextlib.contextmanager
def run(device: Device, tmp_path: Path) -> Iterator[tuple[AgentHub, str]]:
    """Run a device that has committed release 1."""
    blobs = device.releases[0].artifacts | device.releases[1].artifacts
    with (
        running_broker(tmp_path / "broker", device.port),
        artifact_server(blobs) as (url, _),
    ):
        hub = AgentHub(device.port, DEVICE)
        try:
            device.agent.start()
            device.roll_out(hub, device.releases[0], url)
            wait_for(lambda: outcomes(hub), "release 1")
            wait_for(lambda: hub.reported[-1].phase == "IDLE", "rest")
            assert summaries(hub) == [], "there was nothing to run beside"
            yield hub, url
        finally:
            device.agent.stop(signal.SIGKILL)
            hub.close()


def test_release_that_agrees_is_activated(tmp_path: Path) -> None:
    """Too few pairs to say more are waited for until the deadline; then it is activated
    as ever, and the hub has their summary.
    """  # noqa: D205 - the summary is one sentence
    device = Device(tmp_path, LABELS)
    with run(device, tmp_path) as (hub, url):
        wanted = replace(
            assign(device.releases[1], DEVICE, 2, url),
            shadow=replace(POLICY, deadline_s=10.0),
        )
        hub.metadata(device.repository.bundle())
        hub.desire(device.repository.assign(wanted))
        wait_for(lambda: len(outcomes(hub)) == 2, "release 2")

        assert outcomes(hub)[1] == (2, "committed", "")
        (summary,) = summaries(hub)
        assert (summary.release, summary.disagreement_ratio) == (2, 0.0)
        assert summary.n >= POLICY.min_samples
        assert summary.confidence_shift == pytest.approx(0.0, abs=1e-6)
        phases = [u.phase for u in updates(hub) if u.release == 2]
        assert phases.index("SELF_TEST") < phases.index("SHADOW")
        assert phases.index("SHADOW") < phases.index("ACTIVATE")


def test_release_that_disagrees_is_never_activated(tmp_path: Path) -> None:
    """A breach in shadow ends the attempt with a code of its own and a quarantine."""
    device = Device(tmp_path, LABELS[::-1])
    with run(device, tmp_path) as (hub, url):
        made = device.releases[1]
        wanted = replace(
            assign(made, DEVICE, 2, url), shadow=replace(POLICY, disagreement_max=0.5)
        )
        hub.metadata(device.repository.bundle())
        hub.desire(device.repository.assign(wanted))
        wait_for(lambda: len(outcomes(hub)) == 2, "release 2")
        wait_for(lambda: hub.reported[-1].phase == "IDLE", "rest")

        assert outcomes(hub)[1] == (2, "failed", "AGENT-UPDATE-071")
        assert summaries(hub)[0].disagreement_ratio > 0.5
        assert hub.reported[-1].release == 1
        assert hub.reported[-1].quarantined == [2]
        assert not [u for u in updates(hub) if u.release == 2 and u.phase == "ACTIVATE"]
        wait_for(lambda: device.agent.events("shadow.ended"), "the end of the shadow")


def test_worker_that_keeps_dying_in_shadow_condemns_the_candidate(
    tmp_path: Path,
) -> None:
    """Two deaths are the candidate's fault; the active release is not touched."""
    device = Device(tmp_path, LABELS)
    with run(device, tmp_path) as (hub, url):
        made = device.releases[1]
        patient = replace(POLICY, min_samples=100_000)
        hub.metadata(device.repository.bundle())
        hub.desire(
            device.repository.assign(
                replace(assign(made, DEVICE, 2, url), shadow=patient)
            )
        )
        for death in (1, 2):
            wait_for(
                lambda death=death: len(device.agent.events("shadow.loaded")) == death,  # type: ignore[misc]
                "the shadow",
            )
            os.kill(
                int(str(device.agent.events("worker.started")[-1]["pid"])),
                signal.SIGKILL,
            )
        wait_for(lambda: len(outcomes(hub)) == 2, "release 2")

        assert outcomes(hub)[1] == (2, "failed", "AGENT-UPDATE-064")
        wait_for(lambda: hub.reported[-1].release == 1, "release 1 again")
        assert hub.reported[-1].quarantined == [2]
        assert hub.reported[-1].previous == 0
