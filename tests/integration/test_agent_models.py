"""`edge-agent models`: a person at the device keeps a release, or goes back."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from edge_agent.store.slots import SlotStore
from edge_agent.wire.control import Assignment
from edge_agent.wire.records import EventRecord, UpdateRecord
from edge_agent.wire.topics import Lane
from tests.fakes.agent_hub import (
    AgentHub,
    artifact_server,
    free_port,
    running_broker,
    wait_for,
)
from tests.fakes.agent_process import DEVICE, Agent, roll_out
from tests.fakes.releases import MadeRelease, assign, make_release
from tests.fakes.tuf_repository import TufRepository


class Site:
    """A hub's least, two releases, and a device that runs the second."""

    def __init__(
        self, folder: Path, port: int, url: str, blobs: dict[str, bytes]
    ) -> None:
        """Activate releases 1 and 2, one after the other."""
        self.repository = TufRepository()
        self.url = url
        self.hub = AgentHub(port, DEVICE)
        self.agent = Agent(folder / "agent", port, self.repository.root_versions[0])
        self.releases: list[MadeRelease] = []
        self._blobs = blobs
        self.agent.start()
        for number in (1, 2):
            self.publish(number)
            self.roll_out(number, seq=number)
            wait_for(lambda number=number: self.runs(number), f"release {number}")  # type: ignore[misc]
            wait_for(
                lambda number=number: (number, "committed", "") in self.outcomes(),  # type: ignore[misc]
                "its commit",
            )

    def publish(self, number: int) -> None:
        """Make a release and serve its files."""
        made = make_release(self.repository, number)
        self._blobs.update(made.artifacts)
        self.releases.append(made)

    def roll_out(self, number: int, seq: int) -> None:
        """Assign a release."""
        made = self.releases[number - 1]
        roll_out(self.hub, self.repository, made, seq, self.url)

    def ask(self, *words: str, code: int = 0) -> dict[str, object]:
        """Run a command of ``edge-agent models``."""
        done = self.agent.ask("models", *words, "--json")
        assert done.returncode == code, done.stderr
        document: dict[str, object] = json.loads(done.stdout) if code == 0 else {}
        return document or {"error": done.stderr}

    def runs(self, number: int) -> bool:
        """Tell whether the hub sees a release on the device, at rest."""
        twin = self.hub.reported[-1] if self.hub.reported else None
        return twin is not None and (twin.release, twin.phase) == (number, "IDLE")

    def outcomes(self) -> list[tuple[int, str, str]]:
        """Return the ends that the hub heard of."""
        return [
            (record.release, record.outcome, record.code)
            for record in self.hub.model.records(Lane.STATE)
            if isinstance(record, UpdateRecord) and record.outcome
        ]

    def events(self) -> list[str]:
        """Return what the hub was told of pins."""
        return [
            record.facts["pinned"]
            for record in self.hub.model.records(Lane.ALERT)
            if isinstance(record, EventRecord) and record.code == "AGENT-UPDATE-100"
        ]

    def close(self) -> None:
        """End the device."""
        self.agent.stop(signal.SIGKILL)
        self.hub.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Run a broker, a hub's least and a device."""
    port = free_port()
    blobs: dict[str, bytes] = {}
    with running_broker(tmp_path / "broker", port), artifact_server(blobs) as (url, _):
        made = Site(tmp_path, port, url, blobs)
        yield made
        made.close()


def test_the_list_tells_what_is_there(site: Site) -> None:
    """Active and previous, with digest and size, and which one answers."""
    found = site.ask("list")
    assert found["pinned"] is False
    models = found["models"]
    assert isinstance(models, list)
    seen = [(one["slot"], one["release"], one["states"]) for one in models]
    assert seen == [
        ("active", 2, ["answering", "committed"]),
        ("previous", 1, ["committed"]),
    ]
    made = site.releases[1].artifacts
    assert models[0]["sha256"] in made
    assert models[0]["model_bytes"] == len(made[models[0]["sha256"]])
    text = site.agent.ask("models", "list").stdout
    assert "answering, committed" in text


def test_a_rollback_goes_through_the_machine_and_is_told(site: Site) -> None:
    """The release before answers, the hub knows, and the other comes back by force."""
    done = site.ask("rollback")
    assert done["release"] == 1
    wait_for(lambda: site.runs(1), "release 1")
    wait_for(
        lambda: (2, "rolled_back", "AGENT-UPDATE-099") in site.outcomes(), "the report"
    )
    assert site.hub.reported[-1].quarantined == [2]
    again = site.ask("rollback", code=5)
    assert "AGENT-UPDATE-098" in str(again["error"])

    site.roll_out(2, seq=3)
    wait_for(lambda: (2, "rejected", "AGENT-UPDATE-060") in site.outcomes(), "refusal")
    forced = assign(site.releases[1], DEVICE, 4, site.url)
    site.hub.desire(site.repository.assign(_forced(forced)))
    wait_for(lambda: site.runs(2), "release 2 again")


def test_a_pinned_device_waits_and_says_so(site: Site) -> None:
    """Assignments of others wait, also over a restart, until somebody unpins."""
    assert site.ask("pin") == {
        "action": "pin",
        "release": 2,
        "pinned": True,
        "waiting": False,
    }
    wait_for(lambda: site.hub.reported[-1].pinned is True, "the pin in the twin")
    site.publish(3)
    site.roll_out(3, seq=3)
    assert site.agent.stop() == 0
    waiting = site.ask("pin")
    assert waiting["waiting"] is True
    site.agent.start()
    twins = len(site.hub.reported)
    wait_for(lambda: len(site.hub.reported) > twins + 1, "twins of the new start")
    assert site.hub.reported[-1].pinned is True
    assert site.hub.reported[-1].assignment_seq == 2
    assert "pinned" in site.agent.ask("status").stdout
    assert site.ask("list")["pinned"] is True
    site.ask("unpin")
    wait_for(lambda: site.runs(3), "release 3")
    wait_for(lambda: site.events() == ["true", "false"], "both events")


def test_a_pinned_device_still_saves_itself(site: Site) -> None:
    """A pin holds off the hub, not the way back; the pin stays."""
    site.ask("pin")
    assert site.ask("rollback")["pinned"] is True
    wait_for(lambda: site.runs(1), "release 1")
    store = SlotStore(site.agent.database)
    slots = store.read()
    store.close()
    assert (slots.active, slots.pinned) == (1, True)


def _forced(assignment: Assignment) -> Assignment:
    return replace(assignment, forced=True)
