"""Sessions: floods, storms, wills, certificates that are worth nothing any more."""

import os
import time
from datetime import UTC, datetime, timedelta

from paho.mqtt.enums import MQTTProtocolVersion

from edge_agent.wire import topics
from edge_agent.wire.topics import Leaf
from hub.storage.db import transaction
from hub.storage.identity import add_certificate
from tests.fault.hostile.outcome import Outcome, attempt
from tests.fault.hostile.scene import Hostile, Scene, columns, pack
from tests.fault.hostile.wild_control import _json, _step, birth, twin
from tests.fault.hostile.wild_profiles import feedback
from tests.fault.hostile.wire import Wire
from tests.mtls import new_request

QUARANTINED, KEPT = Outcome.QUARANTINED, Outcome.KEPT
IGNORED, REFUSED, BELIEVED = Outcome.IGNORED, Outcome.REFUSED, Outcome.BELIEVED
DROPPED = Outcome.DROPPED
FLOOD = 10_000
BOMBS = 120
STORM = 25
LIFE_S = 5.0
ANYTHING = (QUARANTINED, KEPT, DROPPED, IGNORED, REFUSED)
"""Of a flood each message is valid: what counts is that nobody else is harmed."""


@attempt(*ANYTHING, disk_mib=24)
def a_flood_of_small_messages(scene: Scene) -> Outcome:
    """10,000 batches of one record, as fast as the broker takes them."""
    device = scene.hostile()
    for n in range(1, FLOOD + 1):
        kinds = columns("feedback", [feedback(n)], n)
        made = device.header(lo=n, hi=n, base=n - 1)
        device.wire.send(_lane(device), pack({"header": made, "kinds": kinds}), n % 2)
    scene.arena.honest[1].beat()
    return IGNORED


@attempt(*ANYTHING, disk_mib=40)
def a_flood_that_inflates(scene: Scene) -> Outcome:
    """120 batches of 8 KiB that inflate to 8 MiB each."""
    device = scene.hostile()
    wide = {"text": "x" * 7900}
    event = {"at": 1.0, "code": "AGENT-X-001", "severity": "i", **wide}
    made = device.header(1024, lane="alert")
    payload = pack({"header": made, "kinds": columns("event", [event] * 1024)})
    for _ in range(BOMBS):
        device.wire.send(topics.up(device.name, topics.Lane.ALERT), payload)
    scene.arena.honest[1].beat()
    return IGNORED


@attempt(*ANYTHING, disk_mib=24)
def a_flood_of_noise(scene: Scene) -> Outcome:
    """1,000 messages of 20 KiB that are no batch."""
    device = scene.hostile()
    for _ in range(1000):
        device.wire.send(_lane(device), os.urandom(20_000))
    scene.arena.honest[1].beat()
    return IGNORED


@attempt(IGNORED)
def a_will_for_others(scene: Scene) -> Outcome:
    """Wills on an honest device's presence and on the hub's metadata."""
    victim = scene.arena.honest[0]
    death = {"device": victim.name, "boot": victim.boot, "online": False, "at": 1.0}
    foreign: tuple[tuple[str, dict[str, object]], ...] = (
        (topics.leaf(victim.name, Leaf.PRESENCE), death),
        (topics.HUB_TUF, {}),
    )
    for topic, document in foreign:
        device = scene.hostile(will=(topic, _json(document)))
        device.wire.drop()
    _step(scene)
    is_online = scene.arena.books.presence(victim.name).get("online")
    return IGNORED if is_online else BELIEVED


@attempt(KEPT, IGNORED, QUARANTINED)
def a_will_that_is_a_batch(scene: Scene) -> Outcome:
    """A will on its own lane, and one of noise on its own presence."""
    first = scene.hostile()
    batch = pack(
        {"header": first.header(), "kinds": columns("feedback", [feedback(1)])}
    )
    first.wire.close()
    again = Wire(first.name, scene.arena.port, first.files, will=(_lane(first), batch))
    again.drop()
    noise = scene.hostile()
    noise.wire.close()
    topic = topics.leaf(noise.name, Leaf.PRESENCE)
    Wire(noise.name, scene.arena.port, noise.files, will=(topic, b"\0" * 99)).drop()
    _step(scene)
    return KEPT


@attempt(IGNORED)
def subscriptions_to_everything(scene: Scene) -> Outcome:
    """`#`, `$SYS/#`, another's acknowledgements, the hub's every topic."""
    device, victim = scene.hostile(), scene.arena.honest[0]
    device.wire.subscribe("#", "$SYS/#", "shoal/v1/#", f"shoal/v1/{victim.name}/#")
    victim.beat()
    device.settle()
    seen = {topic for topic, _ in device.wire.inbox}
    allowed = (f"shoal/v1/{device.name}/", topics.HUB_TUF)
    return IGNORED if all(t.startswith(allowed) for t in seen) else BELIEVED


@attempt(KEPT, REFUSED, IGNORED)
def a_storm_of_connections(scene: Scene) -> Outcome:
    """25 connections under one certificate, each throwing the one before out."""
    device = scene.hostile()
    for _ in range(STORM):
        Wire(device.name, scene.arena.port, device.files).drop()
    return KEPT


@attempt(KEPT, REFUSED)
def an_old_mqtt(scene: Scene) -> Outcome:
    """MQTT 3.1, with a presence of protocol 0."""
    device = scene.hostile(version=MQTTProtocolVersion.MQTTv31)
    if not device.wire.accepted:
        return REFUSED
    device.control(Leaf.PRESENCE, birth(device, protocol=0))
    device.rows("feedback", feedback(1))
    return scene.fate(device)


@attempt(IGNORED)
def a_session_of_another_device(scene: Scene) -> Outcome:
    """A client id that is an honest device's."""
    device, victim = scene.hostile(), scene.arena.honest[0]
    thief = Wire(victim.name, scene.arena.port, device.files)
    thief.subscribe(topics.leaf(victim.name, Leaf.ACK))
    victim.beat()
    robbed = bool(thief.inbox)
    thief.close()
    return BELIEVED if robbed or victim.wire.ended.is_set() else IGNORED


@attempt(IGNORED)
def revoked_and_still_talking(scene: Scene) -> Outcome:
    """Twin, presence and batches on the session that it had when it was revoked."""
    device, arena = scene.hostile(), scene.arena
    device.control(Leaf.PRESENCE, birth(device))
    device.settle()
    _step(scene)
    arena.services.identity.revoke(device.name)
    time.sleep(REVOKED_S)
    device.control(Leaf.REPORTED, twin(device, release=5))
    device.control(Leaf.PRESENCE, birth(device, hardware="believed"))
    device.rows("feedback", feedback(1))
    _step(scene, times=2)
    books = arena.books
    believed = books.twin(device.name) or books.records(device.name)
    changed = books.presence(device.name).get("hardware") == "believed"
    return BELIEVED if believed or changed else IGNORED


REVOKED_S = 3.0
"""The hub states that it knows of a revocation within two seconds."""


@attempt(REFUSED)
def revoked_and_enrolling_again(scene: Scene) -> Outcome:
    """A revoked certificate that asks for a new one."""
    device = scene.hostile()
    scene.arena.services.identity.revoke(device.name)
    from tests.fault.hostile.strangers import renewal

    status = scene.arena.web.post("/renew", renewal(device.files, device.files))
    return REFUSED if status in {400, 403} else BELIEVED


@attempt(IGNORED, REFUSED)
def a_session_beyond_its_certificate(scene: Scene) -> Outcome:
    """Twins on a session whose certificate has expired meanwhile."""
    arena = scene.arena
    key, csr = new_request()
    days = arena.services.config.identity.certificate_days
    then = datetime.now(UTC) - timedelta(days=days) + timedelta(seconds=LIFE_S)
    name = f"hostile-{scene.number}-late"
    issued = arena.services.identity.authority().sign_device(csr.encode(), name, then)
    with transaction(arena.services.engine) as connection:
        add_certificate(
            connection,
            issued.serial,
            name,
            issued_at=then.timestamp(),
            expires_at=issued.expires_at,
        )
    wire = Wire(name, arena.port, arena.rig.write(name, issued.pem.decode(), key))
    if not wire.accepted:
        return REFUSED
    wire.ended.wait(LIFE_S + 1)
    late = {"device": name, "boot": "a" * 16, "version": 1, "at": 1.0, "release": 9}
    wire.say(topics.leaf(name, Leaf.REPORTED), _json(late))
    _step(scene, times=2)
    wire.close()
    return BELIEVED if arena.books.twin(name) else IGNORED


def _lane(device: Hostile) -> str:
    return topics.up(device.name, topics.Lane.METRIC)
