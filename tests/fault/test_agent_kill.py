"""kill -9 at every effect of an activation: some verified model is always there.

A dry life counts the points (writes, syncs, renames, removals, reloads, reports); then
for each of them a device is killed there, judged, started again, and judged again. What
the hub will hear must be the truth, once.
"""

import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edge_agent.store.artifacts import ArtifactStore
from edge_agent.store.factory import read_factory
from tests.fakes.agent_hub import artifact_server
from tests.killpoints.bench import (
    BAD_GOLDEN,
    FIRST_BOOT,
    GOOD,
    NEWER,
    NEXT_BOOT,
    Hub,
    Lives,
    build_killer,
    copy_of,
    ends_of,
    fault_after_kill,
    order,
    slots_of,
)
from tests.killpoints.device import Trouble

WORKERS = 2
AFTER_NEWER = 24
KILLED = -signal.SIGKILL
pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way through the phases, and where it must end.

    It starts at the beginning of the phase ``start`` ("": before the assignment), on a
    device that runs release 1, or with ``factory`` on one that has no release.
    """

    release: int
    trouble: Trouble = field(default_factory=Trouble)
    shadow: bool = True
    factory: bool = False
    start: str = "SELF_TEST"
    ends: list[tuple[int, str]]
    active: int
    quarantined: tuple[int, ...] = ()


WAYS = {
    "commit": Way(release=GOOD, start="", ends=[(GOOD, "committed")], active=GOOD),
    "self-test fails": Way(
        release=BAD_GOLDEN,
        ends=[(BAD_GOLDEN, "failed")],
        active=1,
        quarantined=(BAD_GOLDEN,),
    ),
    "paired test fails": Way(
        release=GOOD,
        trouble=Trouble(garbage=True),
        shadow=False,
        ends=[(GOOD, "failed")],
        active=1,
        quarantined=(GOOD,),
    ),
    "evidence comes late": Way(
        release=GOOD,
        trouble=Trouble(late=True),
        shadow=False,
        ends=[(GOOD, "committed"), (GOOD, "committed")],
        active=GOOD,
    ),
    "shadow fails": Way(
        release=GOOD,
        trouble=Trouble(disagrees=True),
        ends=[(GOOD, "failed")],
        active=1,
        quarantined=(GOOD,),
    ),
    "crash loop in shadow": Way(
        release=GOOD,
        trouble=Trouble(crash_in="SHADOW"),
        ends=[(GOOD, "failed")],
        active=1,
        quarantined=(GOOD,),
    ),
    "probation fails": Way(
        release=GOOD,
        trouble=Trouble(errs=True),
        shadow=False,
        ends=[(GOOD, "rolled_back")],
        active=1,
        quarantined=(GOOD,),
    ),
    "crash loop in probation": Way(
        release=GOOD,
        trouble=Trouble(crash_in="PROBATION"),
        shadow=False,
        ends=[(GOOD, "rolled_back")],
        active=1,
        quarantined=(GOOD,),
    ),
    "superseded": Way(
        release=GOOD,
        trouble=Trouble(newer_in="SHADOW", newer=NEWER),
        ends=[(NEWER, "committed")],
        active=NEWER,
    ),
    "back to the factory model": Way(
        release=GOOD,
        trouble=Trouble(errs=True),
        factory=True,
        ends=[(GOOD, "rolled_back")],
        active=0,
        quarantined=(GOOD,),
    ),
}


class Field:
    """A hub with its artifacts, and processes that fork devices."""

    def __init__(self, folder: Path, url: str, hub: Hub, lives: list[Lives]) -> None:
        """Use what runs."""
        self.folder = folder
        self.url = url
        self.hub = hub
        self.lives = lives

    def device(self, name: str, way: Way) -> Path:
        """Bring a device to the beginning of a way."""
        home = self.hub.new_device(
            name, self.url, shadow=way.shadow, factory=way.factory
        )
        if not way.factory:
            life = self.lives[0].live(order(home, 1, FIRST_BOOT))
            assert (life.status, life.loaded) == (0, 1)
        _leave_behind(home)
        if way.start:
            stop = Trouble(stop_in=way.start)
            life = self.lives[0].live(
                order(home, way.release, FIRST_BOOT, trouble=stop)
            )
            assert life.status == 0
            assert slots_of(home).phase == way.start
        return home


def _leave_behind(home: Path) -> None:
    """Leave what earlier attempts would: a release, and part of a file."""
    state = home / "state"
    (state / "releases").mkdir(exist_ok=True)
    (state / "releases" / "9.json").write_bytes(b"{")
    (state / "artifacts").mkdir(exist_ok=True)
    (state / "artifacts" / ("9" * 64)).write_bytes(b"old")
    (state / "artifacts" / ("8" * 64 + ".part")).write_bytes(b"half")


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    """Return a hub and two processes that fork devices."""
    folder = tmp_path_factory.mktemp("kill")
    library = build_killer(folder)
    hub = Hub(folder)
    lives = [Lives(library) for _ in range(WORKERS)]
    try:
        with artifact_server(hub.artifacts) as (url, _):
            yield Field(folder, url, hub, lives)
    finally:
        for one in lives:
            one.close()


@pytest.mark.parametrize("name", WAYS)
def test_killed_at_every_effect(ground: Field, name: str) -> None:
    """Wherever it dies, a device can answer, ends where it must, and says so once."""
    way = WAYS[name]
    home = ground.device(name.replace(" ", "-"), way)
    dry = ground.lives[0].live(
        order(copy_of(home, f"{home.name}-dry"), way.release, trouble=way.trouble)
    )
    assert _end_fault(home.with_name(f"{home.name}-dry"), way) == ""
    # The agent's start, with its metadata, is the same on every way, and so is what
    # comes some steps after a newer assignment.
    last = dry.newer + AFTER_NEWER if dry.newer else dry.points
    places = range(dry.first * bool(way.start) + 1, last + 1)
    assert len(places) >= 8

    def share(worker: int) -> list[str]:
        faults = [
            (at, _kill_and_recover(ground.lives[worker], home, way, at))
            for at in places[worker::WORKERS]
        ]
        return [f"point {at}: {fault}" for at, fault in faults if fault]

    with ThreadPoolExecutor(WORKERS) as pool:
        faults = [fault for found in pool.map(share, range(WORKERS)) for fault in found]

    assert faults == []


@pytest.mark.parametrize("stride", [1, 5, 11])
def test_killed_again_and_again(ground: Field, stride: int) -> None:
    """A device that goes down each time, a little later, still comes to a true end."""
    way = WAYS["commit"]
    home = ground.device(f"again-{stride}", way)
    lives, at = 0, stride
    while (life := ground.lives[0].live(order(home, GOOD, at=at))).status == KILLED:
        assert fault_after_kill(home, may_run=(1, GOOD)) == ""
        lives, at = lives + 1, at + stride
        assert lives < 200

    assert life.status == 0
    slots, ends = slots_of(home), ends_of(home)
    assert slots.phase == "IDLE"
    assert slots.attempts <= 2
    assert ends[0] == (1, "committed")
    ((release, outcome),) = ends[1:]
    assert release == GOOD
    assert (outcome == "committed") == (slots.active == GOOD)
    assert (outcome == "committed") != (GOOD in slots.quarantined)
    assert life.loaded == slots.active


def _kill_and_recover(lives: Lives, home: Path, way: Way, at: int) -> str:
    """Kill a device at a point and start it again; return what is wrong, or ""."""
    copy = copy_of(home, f"{home.name}-{at}")
    try:
        killed = lives.live(order(copy, way.release, at=at, trouble=way.trouble))
        if killed.status != KILLED:
            return f"it was not killed, but ended with {killed.status}"
        may_run = (0, GOOD) if way.factory else (1, GOOD, NEWER)
        if fault := fault_after_kill(copy, may_run=may_run):
            return f"after the kill: {fault}"
        again = lives.live(order(copy, way.release, NEXT_BOOT, trouble=way.trouble))
        if again.status:
            return f"started again, it ended with {again.status}"
        if again.loaded != way.active or not again.sha256:
            return f"release {again.loaded} answers in the end"
        return _end_fault(copy, way)
    finally:
        shutil.rmtree(copy)


def _end_fault(home: Path, way: Way) -> str:
    """Return what is wrong with a device that came to its end, or ""."""
    slots, ends = slots_of(home), ends_of(home)
    wanted = way.ends if way.factory else [(1, "committed"), *way.ends]
    if ends != wanted:
        return f"the hub hears {ends}"
    if (slots.phase, slots.active) != ("IDLE", way.active):
        return f"it rests in {slots.phase} with release {slots.active}"
    if slots.quarantined != way.quarantined:
        return f"quarantined: {slots.quarantined}"
    if way.factory:
        read_factory(home / "factory")
    else:
        ArtifactStore(home / "state").load_release(slots.active)
    left = {path.name for path in (home / "state" / "artifacts").iterdir()}
    if way.ends[-1][1] == "committed" and left & {"9" * 64, "8" * 64 + ".part"}:
        return "what was left behind is still there"
    return ""
