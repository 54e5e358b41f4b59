"""What can be wrong with what a device is given: the table of OPERATIONS.md as a test.

A real agent serves release 1. Then something is wrong; the device says what, by a code,
`hub devices get` shows it, and release 1 goes on answering.
"""

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from edge_agent.wire.control import Obstacle
from tests.fakes.agent_hub import wait_for
from tests.fakes.agent_process import DEVICE
from tests.fakes.agent_scene import AgentScene
from tests.fakes.hub_ear import HubEar
from tests.fakes.model_base import Base, read_base
from tests.fakes.releases import MODEL, assign
from tests.fakes.tuf_repository import TufRepository, sha256_of

SMALL_DISK = (
    "unshare",
    "--map-root-user",
    "--mount",
    "sh",
    "-c",
    'mkdir -p "$0" && mount -t tmpfs -o size=1700k none "$0" && exec "$@"',
)
"""Runs the rest of the line with a small disk mounted on a folder."""
LATE_S = 90.0


def _good() -> Base:
    return read_base(MODEL)


def _restart(scene: AgentScene, root: bytes) -> None:
    """Give the device another root of trust."""
    scene.agent.stop()
    (scene.agent.folder / "root.json").write_bytes(root)
    scene.hub.metadata(scene.repository.bundle())
    scene.agent.start()


def _no_root(scene: AgentScene) -> None:
    _restart(scene, b'{"signed": {}}')


def _other_root(scene: AgentScene) -> None:
    _restart(scene, TufRepository().root_versions[0])


def _expired(scene: AgentScene) -> None:
    scene.repository.expires = datetime.now(UTC) - timedelta(days=2)
    scene.desire(scene.sign(_good(), _good().data + b"\0"))


def _missing_target(scene: AgentScene) -> None:
    made = scene.sign(_good(), _good().data + b"\0")
    lost = assign(made, DEVICE, scene.seq, scene.url)
    scene.hub.metadata(scene.repository.bundle())
    wanted = replace(lost, target=f"models/watch/{scene.seq}/nothing.json")
    scene.hub.desire(scene.repository.assign(wanted))


def _truncated(scene: AgentScene) -> None:
    model = _good().data + b"\0"
    made = scene.sign(_good(), model)
    scene.blobs[sha256_of(model)] = model[:1000]
    scene.desire(made)


def _complete(scene: AgentScene) -> None:
    model = _good().data + b"\0"
    scene.blobs[sha256_of(model)] = model


def _no_space(scene: AgentScene) -> None:
    scene.desire(scene.sign(_good(), _good().data + bytes(1 << 20)))


def _unwritable(scene: AgentScene) -> None:
    """Put a file where the folder of artifacts was; root may write anywhere else."""
    artifacts = scene.agent.folder / "state" / "artifacts"
    shutil.move(artifacts, artifacts.with_name("elsewhere"))
    artifacts.write_text("not a folder")
    scene.desire(scene.sign(_good(), _good().data + b"\0"))


def _writable(scene: AgentScene) -> None:
    artifacts = scene.agent.folder / "state" / "artifacts"
    artifacts.unlink()
    shutil.move(artifacts.with_name("elsewhere"), artifacts)


def _missing_operator(scene: AgentScene) -> None:
    model = MODEL.with_name("lacking.tflite").read_bytes()
    scene.desire(scene.sign(_good(), model))


def _other_input(scene: AgentScene) -> None:
    """Roll out a model that takes three axes, where the sensor has six."""
    other = read_base(MODEL.with_name("narrow.tflite"))
    scene.desire(scene.sign(other, other.data))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One thing that can be wrong.

    ``ends`` is how the activation ends; empty: it does not, the device waits. ``heal``
    puts it right; then the device goes on by itself.
    """

    name: str
    code: str
    happen: Callable[[AgentScene], None]
    ends: str = ""
    heal: Callable[[AgentScene], None] | None = None
    on_small_disk: bool = False


ROWS = (
    Row(name="root is none", code="AGENT-UPDATE-009", happen=_no_root),
    Row(name="another hub's root", code="AGENT-UPDATE-012", happen=_other_root),
    Row(name="expired set", code="AGENT-UPDATE-011", happen=_expired),
    Row(
        name="missing target",
        code="AGENT-UPDATE-015",
        happen=_missing_target,
        ends="failed",
    ),
    Row(
        name="truncated download",
        code="AGENT-UPDATE-020",
        happen=_truncated,
        heal=_complete,
    ),
    Row(
        name="no space",
        code="AGENT-UPDATE-021",
        happen=_no_space,
        on_small_disk=True,
    ),
    Row(
        name="unwritable store",
        code="AGENT-STORE-001",
        happen=_unwritable,
        heal=_writable,
    ),
    Row(
        name="missing operator",
        code="AGENT-UPDATE-046",
        happen=_missing_operator,
        ends="failed",
    ),
    Row(
        name="other input",
        code="AGENT-UPDATE-054",
        happen=_other_input,
        ends="rolled_back",
    ),
)


@pytest.fixture
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AgentScene]:
    """A device that serves release 1, and everything around it."""
    row: Row = request.param
    program: tuple[str, ...] = (sys.executable, "-m", "edge_agent")
    if row.on_small_disk:
        artifacts = tmp_path / "agent" / "state" / "artifacts"
        program = (*SMALL_DISK, str(artifacts), *program)
    with AgentScene(tmp_path, program) as made:
        yield made


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("scene", "row"),
    [(row, row) for row in ROWS],
    indirect=["scene"],
    ids=lambda row: row.name,
)
def test_what_is_wrong_has_a_code_and_harms_nothing(
    scene: AgentScene, row: Row, tmp_path: Path
) -> None:
    """The hub hears the code, its command line shows it, and release 1 answers."""
    ear = HubEar(tmp_path / "hub", scene.port)
    scene.callback(ear.close)
    scene.start(_good())

    row.happen(scene)

    if row.ends:
        wait_for(lambda: scene.end(scene.seq), "the end", timeout_s=LATE_S)
        end = scene.end(scene.seq)
        assert end is not None
        assert (end.outcome, end.code) == (row.ends, row.code)
    else:
        wait_for(lambda: _code(scene) == row.code, row.code, timeout_s=LATE_S)
        wait_for(
            lambda: _is_shown(scene, row.code), "the device's word", timeout_s=LATE_S
        )
    wait_for(lambda: row.code in ear.show(DEVICE), "the hub", timeout_s=LATE_S)
    wait_for(lambda: _serves(scene), "an answer", timeout_s=LATE_S)
    if row.heal is not None:
        row.heal(scene)
        wait_for(lambda: scene.end(scene.seq), "the end", timeout_s=LATE_S)
        end = scene.end(scene.seq)
        assert end is not None
        assert end.outcome == "committed"
        wait_for(lambda: _code(scene) == "", "a clear way", timeout_s=LATE_S)
        wait_for(lambda: not _is_shown(scene, row.code), "the device's word")
    assert scene.process.poll() is None
    assert scene.agent.events("thread.died") == []
    assert scene.agent.events("worker.died") == []


def _code(scene: AgentScene) -> str:
    """Return what the device's newest twin says that it waits for."""
    reported = scene.hub.reported[-1] if scene.hub.reported else None
    obstacle: Obstacle | object = reported.obstacle if reported else UNSET
    return obstacle.code if isinstance(obstacle, Obstacle) else ""


def _is_shown(scene: AgentScene, code: str) -> bool:
    """Tell whether the device's own commands say that updates wait for it."""
    said = (
        line
        for words in (("status",), ("update", "status"))
        for line in scene.agent.ask(*words).stdout.splitlines()
    )
    waits = [line for line in said if line.startswith("waits for")]
    return len(waits) == 2 and all(code in line for line in waits)


def _serves(scene: AgentScene) -> bool:
    answer = scene.answer()
    return answer is not None and (answer.served_by, answer.release) == ("active", 1)
