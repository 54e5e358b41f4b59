"""Devices that are gone: retired ones stay in the records, forgotten ones nowhere."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from click.testing import CliRunner, Result
from msgspec import structs
from sqlalchemy import Connection, Engine, event, func, insert, select

from edge_agent.base.clock import SystemClock
from edge_agent.wire import codec, topics
from edge_agent.wire.batch import BatchHeader, encode_batch, encode_record
from edge_agent.wire.control import Presence, Reported
from edge_agent.wire.records import EventRecord, FeedbackRecord
from edge_agent.wire.topics import Address, Lane, Leaf
from hub.alerts.evidence import CloneEvidence, FailedDevice, LateEvidence
from hub.alerts.machine import Alert, AlertState
from hub.alerts.service import fingerprint, get_incident
from hub.cli import cli
from hub.config import Home, IngestConfig
from hub.devices.link_beat import LinkBeat
from hub.errors import NotFoundError, RefusedError
from hub.ingest.writer import IngestWriter
from hub.service import Services, open_services
from hub.storage import alerts, devices, poison
from hub.storage.alerts import AlertRow
from hub.storage.clones import note_clone
from hub.storage.db import transaction
from hub.storage.hub_links import STALE_S
from hub.storage.streams import StreamKey
from hub.storage.tables import CERTIFICATES, FEEDBACK, METADATA, RECORDS
from tests.fakes.hub_fleet import BOOT, Fleet, TestClock, publish_three
from tests.hub_records import plant

GONE, OTHER = "pump-9", "pump-91"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home folder with three published releases, to be copied."""
    return publish_three(tmp_path_factory.mktemp("published"))


@pytest.fixture
def fleet(published: Path, tmp_path: Path) -> Iterator[Fleet]:
    """Return services with two devices, of which everything is there to be erased."""
    shutil.copytree(published, tmp_path / "home")
    clock = TestClock()
    services = open_services(Home(tmp_path / "home"), clock)
    made = Fleet(services, clock)
    fill(made)
    yield made
    services.engine.dispose()


def fill(fleet: Fleet) -> None:
    """Bring the ids of both devices wherever ids get to."""
    services = fleet.services
    fleet.birth(GONE, OTHER)
    fleet.complete(1)
    rollout = services.rollouts.start(2, stages=(1.0,))
    services.rollouts.tick()
    fleet.report(GONE, 1, "rolled_back", detail="it fails")
    services.rollouts.tick()
    assert GONE in services.rollouts.get(rollout)[0].reason
    with transaction(services.engine) as conn:
        for name in (GONE, OTHER):
            plant_all(conn, name)
    services.identity.issue_token(GONE, 60.0)
    services.devices.collect([GONE, OTHER], 10, "drift")
    folder = services.home.jobs / "retrain-1"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "devices.json").write_text(json.dumps([GONE, OTHER]), "utf-8")
    (folder / "trainer.log").write_text(f"{GONE}: 1 sample, {OTHER}: 1\n", "utf-8")
    np.savez_compressed(
        folder / "samples.npz",
        x=np.zeros((2, 3), np.float32),
        label=np.array(["a", "b"]),
        group=np.array([GONE, OTHER]),
    )


def plant_all(conn: Connection, name: str) -> None:
    """Store records, labels, a certificate, poison, signs of a clone, and alerts."""
    label = FeedbackRecord(
        at=1.0,
        sample_id="s1",
        release=1,
        predicted="a",
        label="a",
        correct=True,
        confidence=0.5,
        predicted_at=1.0,
    )
    key = StreamKey(device=name, boot=BOOT, lane=Lane.METRIC)
    plant(conn, key, [(1, label)], 5.0)
    row = {"serial": name.encode().hex(), "device": name, "issued_at": 1.0}
    conn.execute(insert(CERTIFICATES).values(expires_at=9e9, **row))
    topic = topics.up(name, Lane.METRIC)
    poison.write_poison(conn, topic, b"junk", reason="no", at=1.0)
    note_clone(conn, name, "two boots", detail="boots take turns", at=1.0)
    clone = CloneEvidence(
        device=name, sign="two boots", detail="x", times=1, first_at=1.0, last_at=1.0
    )
    late = LateEvidence(devices=[FailedDevice(device=GONE), FailedDevice(device=OTHER)])
    for rule, cohort, evidence in (("clone", name, clone), ("evidence", name, late)):
        alerts.insert_alert(
            conn,
            AlertRow(
                id=0,
                fingerprint=fingerprint(rule, 0, cohort),
                rule=rule,
                release=0,
                cohort="" if rule == "evidence" else cohort,
                severity="high",
                summary=f"devices {GONE}, {OTHER}",
                evidence=evidence,
                alert=Alert(state=AlertState.FIRING, pending_at=1.0, fired_at=1.0),
                updated_at=1.0,
            ),
        )


def nothing_cached() -> None:
    """Stand for a hub that keeps nothing in memory."""


class Broker:
    """Takes every message."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.emptied: list[str] = []

    def publish(
        self, topic: str, payload: bytes, *, retain: bool, expires_s: float = 0.0
    ) -> bool:
        """Note which retained messages are deleted."""
        assert retain
        assert not payload
        assert not expires_s
        self.emptied.append(topic)
        return True


def places(services: Services, name: str) -> list[str]:
    """Return every place of the home where an id still stands."""
    mark = re.compile(name.encode() + b"(?!1)")
    found = []
    with services.engine.connect() as conn:
        for table in METADATA.sorted_tables:
            for row in conn.execute(select(table)):
                text = " ".join(str(value) for value in row) + " "
                if mark.search(text.encode()):
                    found.append(f"{table.name}: {text}")
    samples = services.home.jobs / "retrain-1" / "samples.npz"
    if name in set(np.load(samples)["group"].tolist()):
        found.append("samples.npz")
    services.engine.dispose()
    files = [path for path in services.home.path.rglob("*") if path.is_file()]
    holds = {path.name: path.read_bytes() for path in files}
    return found + [name for name, data in holds.items() if mark.search(data)]


def test_forgetting_erases_a_device_everywhere(fleet: Fleet) -> None:
    """No table, no page of the file, no job keeps the id; the other device is whole."""
    services = fleet.services
    assert len(places(services, GONE)) > 10
    others = {place.split(":")[0] for place in places(services, OTHER)}

    (done,) = services.gone.forget([GONE])
    broker = Broker()
    services.gone.tick(broker.publish, nothing_cached)

    assert services.gone.state_of(done).erased_at is not None
    assert places(services, GONE) == []
    assert {p.split(":")[0] for p in places(services, OTHER)} == others
    assert topics.leaf(GONE, Leaf.PRESENCE) in broker.emptied
    assert topics.leaf(GONE, Leaf.DESIRED) in broker.emptied
    late = [one for one in incidents(services) if one.rule == "evidence"]
    assert late[0].summary == f"devices (forgotten), {OTHER}"
    services.rollouts.tick()
    services.retrain.tick()


def incidents(services: Services) -> list[AlertRow]:
    """Return all alerts."""
    with services.engine.connect() as conn:
        return alerts.list_alerts(conn)


def test_its_certificates_stay_revoked_without_its_name(fleet: Fleet) -> None:
    """The list of revocations has the number of a forgotten device's certificate."""
    services = fleet.services
    services.gone.forget([GONE])

    serial = int(GONE.encode().hex(), 16)
    from cryptography.x509 import load_pem_x509_crl

    revoked = load_pem_x509_crl(services.identity.revocations())
    assert revoked.get_revoked_certificate_by_serial_number(serial) is not None
    assert services.identity.revoked_devices() == set()


def test_late_messages_of_a_forgotten_device_are_not_taken_in(fleet: Fleet) -> None:
    """Batches, junk, presence and twin leave no trace; no token is given to the id."""
    services = fleet.services
    services.gone.forget([GONE])
    services.gone.tick(Broker().publish, nothing_cached)
    acks: list[str] = []
    done = Event()
    writer = IngestWriter(
        services.engine, SystemClock(), lambda t, _: acks.append(t), IngestConfig()
    )
    topic = topics.up(GONE, Lane.METRIC)
    writer.offer(topic, batch_of(1), done.set)
    writer.offer(topic, b"junk", done.set)
    writer.offer(f"shoal/v1/{GONE}/up/none", b"junk", done.set)
    while writer.step(0.0):
        pass
    inbox = services.devices.inbox
    birth = Presence(device=GONE, boot=BOOT, online=True, at=1.0)
    inbox.put(Address(GONE, Leaf.PRESENCE), codec.encode(birth))
    twin = Reported(device=GONE, boot=BOOT, version=9, at=1.0, release=1)
    inbox.put(Address(GONE, Leaf.REPORTED), codec.encode(twin))
    services.devices.receive()

    assert done.is_set()
    assert acks == []
    assert places(services, GONE) == []
    with pytest.raises(RefusedError, match="HUB-ENROL-021"):
        services.identity.issue_token(GONE, 60.0)


def batch_of(seq: int) -> bytes:
    """Return a batch with one record."""
    record = EventRecord(at=1.0, code="AGENT-X-001", severity="info", text="x")
    header = BatchHeader(
        boot=BOOT, lane=Lane.METRIC, base=0, lo=seq, hi=seq, wall_at=1.0, mono_s=1.0
    )
    return encode_batch(header, [(seq, encode_record(record))])


class _Dies:
    """Makes a database refuse every transaction from the ``after``-th on."""

    def __init__(self, engine: Engine, after: int) -> None:
        self.left = after
        event.listen(engine, "begin", self.on_begin)
        self._engine = engine

    def on_begin(self, _: Connection) -> None:
        """Die when it is time."""
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt

    def stop(self) -> None:
        """Let the database work again."""
        event.remove(self._engine, "begin", self.on_begin)


def test_a_cut_off_forget_is_finished_by_the_next_run(fleet: Fleet) -> None:
    """Dying before any of its transactions leaves a state that running again mends."""
    services = fleet.services
    cut = 0
    for after in range(30):
        dying = _Dies(services.engine, after)
        try:
            services.gone.forget([GONE])
        except KeyboardInterrupt:
            cut += 1
        else:
            break
        finally:
            dying.stop()
    assert cut >= 4
    services.gone.forget([GONE])
    services.gone.tick(Broker().publish, nothing_cached)
    again = services.gone.forget([GONE])
    services.gone.tick(Broker().publish, nothing_cached)

    assert places(services, GONE) == []
    assert again[0].rows == 0


def test_the_serving_hub_finishes_what_a_command_began(fleet: Fleet) -> None:
    """While the broker cannot be told the id is kept, and then it is not."""
    services = fleet.services
    services.gone.forget([GONE])
    services.gone.tick(lambda *_, **__: False, nothing_cached)
    assert [p for p in places(services, GONE) if "hub.db" not in p] != []
    dropped: list[bool] = []
    services.gone.tick(Broker().publish, lambda: dropped.append(True))

    assert dropped == [True]
    assert places(services, GONE) == []


def test_forgetting_what_is_unknown_forgets_nobody(fleet: Fleet) -> None:
    """A typing error in one of two ids is told, and erases neither."""
    with pytest.raises(NotFoundError, match="HUB-DEVICE-001"):
        fleet.services.gone.forget([GONE, "pmup-9"])
    assert fleet.services.devices.get(GONE)[0].id == GONE


def test_a_retired_device_is_in_the_records_only(fleet: Fleet) -> None:
    """Certificates, token and assignment end; records stay; it can be taken back."""
    services = fleet.services
    (done,) = services.gone.retire([GONE])
    row, assignment = services.devices.get(GONE)

    assert done.revoked == 1
    assert row.retired_at is not None
    assert assignment is not None
    assert (assignment.release, assignment.envelope) == (0, "")
    assert GONE in services.identity.revoked_devices()
    with services.engine.connect() as conn:
        kept = select(func.count()).select_from(FEEDBACK)
        assert conn.scalar(kept.where(FEEDBACK.c.device == GONE)) == 1
        assert conn.scalar(select(func.count()).select_from(RECORDS))
        assert 1 in devices.releases_in_use(conn)
    services.gone.take_back([GONE])
    assert services.devices.get(GONE)[0].retired_at is None


def run(fleet: Fleet, *arguments: str) -> Result:
    """Run a command on the fleet's home."""
    home = str(fleet.services.home.path)
    return CliRunner().invoke(cli, ["--home", home, *arguments])


def test_the_commands_ask_and_tell(fleet: Fleet) -> None:
    """Forget needs --yes; both have JSON; a retired device is listed as such."""
    assert run(fleet, "devices", "forget", GONE).exit_code == 2
    retired = json.loads(run(fleet, "devices", "retire", OTHER, "--json").stdout)
    assert retired[0]["device"] == OTHER
    listed = run(fleet, "devices", "list").stdout
    assert "retired" in next(line for line in listed.splitlines() if OTHER in line)
    undone = run(fleet, "devices", "retire", OTHER, "--undo")
    assert "takes part again" in undone.stderr
    gone = json.loads(run(fleet, "devices", "forget", GONE, "--yes", "--json").stdout)
    assert gone[0]["rows"] > 0
    assert gone[0]["erased_at"] is None
    assert run(fleet, "devices", "get", GONE).exit_code == 3
    assert run(fleet, "devices", "forget", "nobody", "--yes").exit_code == 3
    assert structs.asdict(get_incident(fleet.services.engine, 4).evidence)


def test_what_a_dead_hub_wrote_makes_nobody_online(fleet: Fleet) -> None:
    """A link that is up counts for seconds; then the hub is said not to serve."""

    def other() -> tuple[bool, str]:
        rows = json.loads(run(fleet, "devices", "list", "--json").stdout)
        row = next(one for one in rows if one["id"] == OTHER)
        return row["online"], row["link"]

    assert other() == (False, "not serving")
    LinkBeat(fleet.services.engine, SystemClock()).tick(up=True)
    assert other() == (True, "up")
    LinkBeat(fleet.services.engine, SystemClock()).tick(up=False)
    assert other() == (False, "down")
    fleet.clock.ahead_s = -STALE_S - 10
    LinkBeat(fleet.services.engine, fleet.clock).tick(up=True)
    assert other() == (False, "not serving")
