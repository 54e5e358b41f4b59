"""Presence, twins, updates, blocks and topics, used as nobody meant them."""

import json
import time
from typing import Any

from edge_agent.wire import topics
from edge_agent.wire.topics import Lane, Leaf
from tests.fault.hostile.arena import wait_for
from tests.fault.hostile.outcome import Outcome, attempt
from tests.fault.hostile.scene import Hostile, Scene
from tests.fault.hostile.wild_batches import PAINT
from tests.mtls import Client, hub_files

QUARANTINED, KEPT = Outcome.QUARANTINED, Outcome.KEPT
IGNORED, BELIEVED = Outcome.IGNORED, Outcome.BELIEVED
HUGE = 2**53


def twin(device: Hostile, /, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return a twin, with changes."""
    plain = {
        "device": device.name,
        "boot": device.boot,
        "version": 1,
        "at": time.time(),
        "release": 0,
    }
    return plain | changes


def birth(device: Hostile, /, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return a presence, with changes."""
    plain = {"device": device.name, "boot": device.boot, "online": True, "at": 1.0}
    return plain | changes


def update(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return an update record, with changes."""
    plain = {
        "at": 1.0,
        "assignment_seq": 1,
        "rollout": "no-such-rollout",
        "release": 1,
        "phase": "IDLE",
        "outcome": "committed",
    }
    return plain | changes


@attempt(IGNORED)
def a_twin_of_another_device(scene: Scene) -> Outcome:
    """Presence and twin that name an honest device, on the sender's own topics."""
    device, victim = scene.hostile(), scene.arena.honest[0]
    device.control(Leaf.REPORTED, twin(device, device=victim.name, release=7))
    device.control(Leaf.PRESENCE, birth(device, device=victim.name, online=False))
    device.settle()
    _step(scene)
    books = scene.arena.books
    harmed = books.twin(victim.name).get("release") or not books.presence(victim.name)
    return BELIEVED if harmed or books.twin(device.name) else IGNORED


@attempt(KEPT, IGNORED, exports=True)
def a_twin_with_odd_fields(scene: Scene) -> Outcome:
    """A twin with every field at its bound, painted texts and half a MiB of unknown."""
    device = scene.hostile()
    versions = {"root": HUGE, "timestamp": HUGE, "snapshot": HUGE, "targets": HUGE}
    odd = twin(
        device,
        version=HUGE,
        release=2**31,
        sha256=PAINT,
        phase=PAINT,
        assignment_seq=HUGE,
        tuf=versions,
        quarantined=[2**31] * 64,
        penalty_until=1e11,
        obstacle={"code": "AGENT-X-001", "text": PAINT},
        api=[PAINT] * 8,
        unknown="u" * 500_000,
    )
    device.control(Leaf.REPORTED, odd)
    labels = {f"{PAINT}{n}": PAINT for n in range(32)} | {"cohort": PAINT}
    device.control(Leaf.PRESENCE, birth(device, agent=PAINT, hardware=PAINT))
    device.control(Leaf.PRESENCE, birth(device, labels=labels))
    _step(scene)
    return KEPT if scene.arena.books.twin(device.name) else IGNORED


@attempt(IGNORED)
def controls_that_are_none(scene: Scene) -> Outcome:
    """Twins of a MiB, of a million brackets, of noise, and with negative numbers."""
    device = scene.hostile()
    junk = (b"[" * 1_000_000, bytes(1 << 20), b"\xff\xfe", b"{}")
    for payload in junk:
        for leaf in (Leaf.REPORTED, Leaf.PRESENCE):
            device.control(leaf, payload)
    device.control(Leaf.REPORTED, twin(device, version=-1))
    _step(scene)
    return BELIEVED if scene.arena.books.twin(device.name) else IGNORED


@attempt(KEPT, IGNORED)
def a_flood_of_births(scene: Scene) -> Outcome:
    """5,000 births, each of another boot, and as many twins."""
    device = scene.hostile()
    for n in range(5000):
        boot = f"{n:016x}"
        wire, name = device.wire, device.name
        wire.send(topics.leaf(name, Leaf.PRESENCE), _json(birth(device, boot=boot)))
        wire.send(topics.leaf(name, Leaf.REPORTED), _json(twin(device, boot=boot)))
    device.settle()
    return KEPT if scene.arena.books.presence(device.name) else IGNORED


@attempt(IGNORED, KEPT, QUARANTINED)
def an_update_of_a_rollout_that_it_is_not_in(scene: Scene) -> Outcome:
    """Updates of rollouts, assignments and phases that do not exist."""
    device = scene.hostile()
    rows = [update(), update(rollout=PAINT, phase=PAINT, outcome=PAINT, code=PAINT)]
    rows += [update(assignment_seq=HUGE, release=2**31, detail="d" * 1024)]
    device.rows("update", *rows, lane="state")
    fate = scene.fate(device)
    _step(scene)
    return BELIEVED if scene.arena.books.outcome(device.name) else fate


@attempt(KEPT, IGNORED, QUARANTINED)
def a_commit_of_another_digest(scene: Scene) -> Outcome:
    """In a rollout: "committed", with a twin that names another model's digest."""
    arena, device = scene.arena, scene.hostile()
    device.control(Leaf.PRESENCE, birth(device))
    wait_for(lambda: bool(arena.books.presence(device.name)), "the hostile device")
    name = arena.services.rollouts.start(1, stages=(1.0,))
    try:
        wait_for(lambda: _assigned(scene, device) > 0, "an assignment")
        seq = _assigned(scene, device)
        lie = twin(device, version=2, release=1, sha256="e" * 64, assignment_seq=seq)
        device.control(Leaf.REPORTED, lie)
        device.rows("update", update(assignment_seq=seq, rollout=name), lane="state")
        fate = scene.fate(device)
        _step(scene, times=3)
        return BELIEVED if arena.books.outcome(device.name) == "committed" else fate
    finally:
        arena.services.rollouts.abort(name, "the attempt is over")


@attempt(IGNORED)
def blocks_at_absurd_offsets(scene: Scene) -> Outcome:
    """3,000 requests of blocks: unknown artifacts, offsets of 2^53, counts of 2^53."""
    device = scene.hostile()
    topic = topics.leaf(device.name, Leaf.BLOCK_GET)
    wild = [
        {"sha256": "a" * 64, "offset": HUGE, "count": 16},
        {"sha256": "a" * 64, "offset": -1, "count": HUGE},
        {"sha256": "../../keys/ca.pem", "offset": 0, "count": 1},
    ]
    for _ in range(1000):
        for request in wild:
            device.wire.send(topic, _json(request), qos=0)
    device.settle()
    return IGNORED


@attempt(IGNORED)
def blocks_without_end(scene: Scene) -> Outcome:
    """3,000 requests of 16 blocks of a model that is there."""
    device, arena = scene.hostile(), scene.arena
    device.wire.subscribe(topics.leaf(device.name, Leaf.BLOCK_DATA))
    artifact = next(arena.home.artifacts.iterdir()).name
    topic = topics.leaf(device.name, Leaf.BLOCK_GET)
    for _ in range(3000):
        request = {"sha256": artifact, "offset": 0, "count": 16}
        device.wire.send(topic, _json(request), qos=0)
    device.settle()
    return IGNORED


@attempt(IGNORED)
def junk_that_is_retained(scene: Scene) -> Outcome:
    """200 retained messages of 100 KiB on topics below its own, beyond the lanes."""
    device = scene.hostile()
    for n in range(200):
        device.wire.say(
            f"shoal/v1/{device.name}/up/junk/{n}", bytes(100_000), keep=True
        )
    return _retained(scene, f"shoal/v1/{device.name}/up/#")


@attempt(IGNORED)
def topics_that_are_not_its_own(scene: Scene) -> Outcome:
    """Everything of another device and of the hub, `$SYS`, and topics of no tree."""
    device, victim = scene.hostile(), scene.arena.honest[0]
    foreign = [topics.leaf(victim.name, leaf) for leaf in Leaf]
    foreign += [topics.up(victim.name, lane) for lane in Lane]
    foreign += [topics.HUB_TUF, "$SYS/broker/uptime", "x" * 60_000, "/" * 150]
    for topic in foreign:
        device.wire.say(topic, b"{}", keep=True)
    quarantined = scene.arena.books.quarantined(victim.name)
    return BELIEVED if quarantined else IGNORED


def _retained(scene: Scene, pattern: str) -> Outcome:
    """Tell whether the broker keeps anything that the hub would be sent."""
    rig = scene.arena.rig
    watch = Client(rig, hub_files(rig, "shoal-watch"), "shoal-watch")
    try:
        assert watch.accepted()
        watch.subscribe(pattern)
        found = not watch.inbox.empty()
    finally:
        watch.close()
    return BELIEVED if found else IGNORED


def _step(scene: Scene, times: int = 1) -> None:
    """Wait until the ticker has stepped, as an honest device sees it."""
    for _ in range(times):
        if scene.arena.alive:
            scene.arena.honest[0].heartbeat(scene.arena.books)


def _assigned(scene: Scene, device: Hostile) -> int:
    _, assignment = scene.arena.services.devices.get(device.name)
    return assignment.seq if assignment else 0


def _json(document: object) -> bytes:
    return json.dumps(document).encode()
