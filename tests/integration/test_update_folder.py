"""``edge-agent update``: a folder from a real hub, a real agent, and no network."""

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.base.clock import SystemClock
from edge_agent.config import OutboxConfig
from edge_agent.store.outbox import Outbox
from edge_agent.store.slots import Slots, SlotStore
from edge_agent.update.folder import Folder
from edge_agent.update.inbox import Answer, Offer, put_offer, read_answer
from edge_agent.wire.batch import decode_record
from edge_agent.wire.records import UpdateRecord
from hub.config import Home
from tests.carried import DEVICE, carry, make_hub
from tests.fakes.agent_hub import free_port, wait_for
from tests.fakes.agent_process import Agent
from tests.hub_keys import DAY_S, HandClock

ID = "0123456789abcdef"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Return a hub with two releases."""
    return make_hub(tmp_path_factory.mktemp("hub"))


@pytest.fixture
def folder(home: Home, tmp_path: Path) -> Path:
    """Return a folder with release 2 and its assignment."""
    carry(home, tmp_path / "usb", 2, DEVICE)
    return tmp_path / "usb"


@pytest.fixture
def agent(home: Home, tmp_path: Path) -> Iterator[Agent]:
    """Return an agent that is not started yet and that no broker answers."""
    made = Agent(tmp_path / "agent", free_port(), home.root_file.read_bytes())
    yield made
    made.stop(signal.SIGKILL)


def slots_of(agent: Agent) -> Slots:
    """Read the slot row."""
    if not agent.database.exists():
        return Slots()
    store = SlotStore(agent.database)
    try:
        return store.read()
    finally:
        store.close()


def outcomes(agent: Agent) -> list[tuple[int, str, str]]:
    """Return the ends of activations that wait for the hub."""
    outbox = Outbox(agent.database, "", OutboxConfig())
    records = [decode_record(held.body) for held in outbox.held()]
    outbox.close()
    return [
        (record.release, record.outcome, record.code)
        for record in records
        if isinstance(record, UpdateRecord) and record.outcome
    ]


def start(agent: Agent) -> None:
    """Start the agent and wait until it works."""
    agent.start()
    wait_for(lambda: agent.events("worker.ready"), "the worker")


def test_a_running_agent_carries_a_folder_out(agent: Agent, folder: Path) -> None:
    """From the folder to the commit; the hub will hear of it in its time."""
    start(agent)

    done = agent.ask("update", "apply", "--from", str(folder), "--json")

    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["release"], said["outcome"], said["code"]) == (2, "committed", "")
    assert done.stderr.split()[-1] == "IDLE"
    assert slots_of(agent).active == 2
    assert outcomes(agent) == [(2, "committed", "")]
    wait_for(lambda: not (agent.folder / "state" / "inbox").exists(), "an empty inbox")
    again = agent.ask("update", "apply", "--from", str(folder))
    assert (again.returncode, "committed" in again.stdout) == (0, True)
    status = json.loads(agent.ask("update", "status", "--json").stdout)
    assert (status["outcome"], status["active"], status["brought"]) == (
        "committed",
        2,
        False,
    )
    roles = [role["role"] for role in status["metadata"]]
    assert roles == ["root", "timestamp", "snapshot", "targets", "models"]


def test_without_an_agent_it_is_done_at_the_next_start(
    agent: Agent, folder: Path
) -> None:
    """The command says so; the next start finds the folder, which may be gone."""
    done = agent.ask("update", "apply", "--from", str(folder), "--json")
    folder.rename(folder.with_name("elsewhere"))
    start(agent)

    wait_for(lambda: slots_of(agent).outcome, "the end of the activation")
    assert (done.returncode, json.loads(done.stdout)["outcome"]) == (0, "waiting")
    assert outcomes(agent) == [(2, "committed", "")]


@pytest.mark.parametrize("phase", ["SELF_TEST", "PROBATION"])
def test_a_killed_agent_goes_on_where_it_was(
    agent: Agent, folder: Path, phase: str
) -> None:
    """In the middle: the next start ends it, and who watches is told."""
    start(agent)
    command = agent.command("update", "apply", "--from", str(folder), "--json")
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as watching:
        assert watching.stderr is not None
        for line in watching.stderr:
            if line.strip() == phase:
                break
        agent.stop(signal.SIGKILL)
        agent.start()
        out, err = watching.communicate(timeout=60)

    assert watching.returncode == 0, err
    assert json.loads(out)["outcome"] == "committed"
    assert slots_of(agent).active == 2


def test_an_older_folder_is_a_conflict(
    home: Home, agent: Agent, folder: Path, tmp_path: Path
) -> None:
    """What was superseded on the device is not carried out, whoever brings it."""
    carry(home, tmp_path / "newer", 1, DEVICE)
    start(agent)
    assert (
        agent.ask("update", "apply", "--from", str(tmp_path / "newer")).returncode == 0
    )

    done = agent.ask("update", "apply", "--from", str(folder))
    agent.stop()
    later = agent.ask("update", "apply", "--from", str(folder))

    assert (done.returncode, later.returncode) == (5, 5)
    assert "AGENT-UPDATE-092" in done.stderr
    assert "AGENT-UPDATE-092" in later.stderr
    assert slots_of(agent).active == 1


@pytest.mark.parametrize("pinned", [False, True], ids=["penalty", "pinned"])
def test_a_device_that_takes_up_nothing_keeps_the_folder(
    agent: Agent, folder: Path, *, pinned: bool
) -> None:
    """The command says that it is not taken up now; it waits in the inbox."""
    start(agent)
    assert agent.stop() == 0
    now = SystemClock().wall()
    store = SlotStore(agent.database, ID)
    store.write(Slots(pinned=pinned, failed_at=() if pinned else (now - 20, now - 10)))
    store.close()
    agent.start()
    wait_for(lambda: len(agent.events("worker.ready")) > 1, "the agent again")

    done = agent.ask("update", "apply", "--from", str(folder))
    status = json.loads(agent.ask("update", "status", "--json").stdout)

    assert (done.returncode, "AGENT-UPDATE-095" in done.stderr) == (5, True)
    assert status["brought"]
    assert (status["pinned"], status["penalty_until"] > now) == (pinned, not pinned)
    assert slots_of(agent).seq == 0


def test_a_folder_is_looked_at_without_changing_anything(
    agent: Agent, folder: Path
) -> None:
    """What would happen is told; the device is as it was."""
    done = agent.ask("update", "check", "--from", str(folder), "--json")

    said = json.loads(done.stdout)
    assert (said["newest"], said["assigned"], said["is_new"]) == (2, 2, True)
    assert {file["place"] for file in said["files"]} == {"folder"}
    assert said["fetch_bytes"] == 0
    assert not (agent.folder / "state").exists()
    assert agent.ask("update", "status").returncode == 3


def flip(path: Path) -> None:
    """Change one byte in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x01
    path.write_bytes(bytes(data))


def artifact(folder: Path) -> Path:
    """Return the largest artifact."""
    return max((folder / "artifacts").iterdir(), key=lambda path: path.stat().st_size)


def metadata(folder: Path, role: str) -> Path:
    """Return the file of a role."""
    return next((folder / "tuf").glob(f"*{role}.json"))


def sealed(folder: Path) -> Path:
    """Return the file of the assignment."""
    return folder / "assignments" / f"{DEVICE}.json"


def edit(path: Path, old: str, new: str) -> None:
    """Replace a text in a file."""
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")


ATTACKS: dict[str, tuple[Callable[[Path], object], str, int]] = {
    "no metadata": (lambda f: (f / "tuf").rename(f / "x"), "AGENT-UPDATE-010", 7),
    "a role is missing": (
        lambda f: metadata(f, "snapshot").unlink(),
        "AGENT-UPDATE-010",
        7,
    ),
    "a giant": (
        lambda f: metadata(f, "models").write_bytes(b" " * (1 << 20)),
        "AGENT-UPDATE-010",
        7,
    ),
    "no text": (
        lambda f: metadata(f, "models").write_bytes(b"\xff\xfe"),
        "AGENT-UPDATE-010",
        7,
    ),
    "changed timestamp": (
        lambda f: edit(metadata(f, "timestamp"), '"version":', '"version":9'),
        "AGENT-UPDATE-012",
        7,
    ),
    "changed targets": (
        lambda f: edit(metadata(f, "models"), '"length":', '"length":1'),
        "AGENT-UPDATE-012",
        7,
    ),
    "cut metadata": (
        lambda f: metadata(f, "targets").write_bytes(b"{"),
        "AGENT-UPDATE-014",
        7,
    ),
    "changed artifact": (lambda f: flip(artifact(f)), "AGENT-UPDATE-023", 7),
    "cut artifact": (
        lambda f: artifact(f).write_bytes(artifact(f).read_bytes()[:-1]),
        "AGENT-UPDATE-090",
        7,
    ),
    "long artifact": (
        lambda f: artifact(f).write_bytes(artifact(f).read_bytes() + b"x"),
        "AGENT-UPDATE-022",
        7,
    ),
    "no artifact": (lambda f: artifact(f).unlink(), "AGENT-UPDATE-090", 7),
    "changed assignment": (
        lambda f: edit(sealed(f), '\\"seq\\":', '\\"seq\\":9'),
        "AGENT-UPDATE-030",
        7,
    ),
    "cut assignment": (lambda f: sealed(f).write_bytes(b"{"), "AGENT-UPDATE-031", 7),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_folder_is_trusted_no_more_than_the_network(
    agent: Agent, folder: Path, attack: str
) -> None:
    """Refused with the wire's own code, before anything is handed over."""
    change, code, exit_code = ATTACKS[attack]
    change(folder)

    checked = agent.ask("update", "check", "--from", str(folder))
    applied = agent.ask("update", "apply", "--from", str(folder))

    assert (checked.returncode, applied.returncode) == (exit_code, exit_code)
    assert code in checked.stderr
    assert code in applied.stderr
    assert not (agent.folder / "state" / "inbox").exists()


def test_an_assignment_is_for_its_device(
    home: Home, agent: Agent, tmp_path: Path
) -> None:
    """Another device's is refused under this one's name; none is none."""
    carry(home, tmp_path / "usb", 2, "d2")
    apply = ("update", "apply", "--from", str(tmp_path / "usb"))

    none = agent.ask(*apply)
    path = tmp_path / "usb" / "assignments" / "d2.json"
    path.rename(path.with_name(f"{DEVICE}.json"))
    other = agent.ask(*apply)

    assert (none.returncode, "AGENT-UPDATE-091" in none.stderr) == (3, True)
    assert (other.returncode, "AGENT-UPDATE-032" in other.stderr) == (7, True)


def test_the_folder_of_another_hub_is_refused(agent: Agent, tmp_path: Path) -> None:
    """Only what begins with the provisioned root counts."""
    other = make_hub(tmp_path / "other", releases=1)
    carry(other, tmp_path / "usb", 1, DEVICE)

    done = agent.ask("update", "apply", "--from", str(tmp_path / "usb"))

    assert (done.returncode, "AGENT-UPDATE-012" in done.stderr) == (7, True)


def test_an_expired_folder_is_refused(tmp_path: Path) -> None:
    """A week after it was written a folder is too old to install from."""
    clock = HandClock(at=SystemClock().wall() - 8 * DAY_S)
    old = make_hub(tmp_path / "old", clock, releases=1)
    carry(old, tmp_path / "usb", 1, DEVICE, clock=clock)
    agent = Agent(tmp_path / "agent", 1, old.root_file.read_bytes())

    done = agent.ask("update", "apply", "--from", str(tmp_path / "usb"))

    assert (done.returncode, "AGENT-UPDATE-011" in done.stderr) == (7, True)


def hand_over(agent: Agent, folder: Path) -> Answer:
    """Put a folder into the inbox unchecked, as who may write there could."""
    state = agent.folder / "state"
    read = Folder(folder)
    offer = Offer(id=ID, bundle=read.bundle(), assignment=read.assignment(DEVICE))
    files = {path.name: path for path in (folder / "artifacts").iterdir()}
    put_offer(state, offer, files)
    wait_for(lambda: read_answer(state, ID), "the answer")
    answer = read_answer(state, ID)
    assert answer is not None
    return answer


def test_the_agent_checks_what_nobody_checked_before(
    agent: Agent, folder: Path
) -> None:
    """What is put past the command is refused by the agent, with the same code."""
    start(agent)
    edit(metadata(folder, "timestamp"), '"version":', '"version":9')

    answer = hand_over(agent, folder)

    assert (answer.state, answer.code) == ("refused", "AGENT-UPDATE-012")
    wait_for(lambda: not (agent.folder / "state" / "inbox").exists(), "an empty inbox")
    assert slots_of(agent) == Slots()


def test_the_agent_loads_no_artifact_that_was_changed(
    agent: Agent, folder: Path
) -> None:
    """It is thrown away, and asked for over the network, which there is none of."""
    start(agent)
    flip(artifact(folder))

    answer = hand_over(agent, folder)

    assert answer.state == "taken"
    wait_for(
        lambda: any("023" in str(e["why"]) for e in agent.events("update.waiting")),
        "the complaint",
    )
    assert (slots_of(agent).phase, slots_of(agent).active) == ("DOWNLOAD", 0)
