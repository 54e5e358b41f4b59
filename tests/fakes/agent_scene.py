"""One agent on release 1, with its broker, its hub, its repository and HTTP server."""

import contextlib
import signal
import subprocess
import sys
from pathlib import Path

from msgspec.structs import replace

from edge_agent.errors import AgentError
from edge_agent.serve.client import Client
from edge_agent.serve.protocol import Prediction
from edge_agent.wire.codec import encode_pretty
from edge_agent.wire.manifest import file_target, release_target
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
from tests.fakes.model_base import Base
from tests.fakes.releases import NAME, MadeRelease, assign, samples
from tests.fakes.tuf_repository import TufRepository, sha256_of

END_S = 180.0
PROGRAM = (sys.executable, "-m", "edge_agent")


class AgentScene(contextlib.ExitStack):
    """Everything runs until the block ends."""

    def __init__(self, folder: Path, program: tuple[str, ...] = PROGRAM) -> None:
        """Start broker, HTTP server and hub; the agent waits for :meth:`start`."""
        super().__init__()
        self.port = free_port()
        self.repository = TufRepository()
        self.blobs: dict[str, bytes] = {}
        self.seq = 0
        root = self.repository.root_versions[0]
        self.agent = Agent(folder / "agent", self.port, root, program)
        self.enter_context(running_broker(folder / "broker", self.port))
        self.url, _ = self.enter_context(artifact_server(self.blobs))
        self.hub = AgentHub(self.port, DEVICE)
        self.callback(self.hub.close)
        self.callback(lambda: self.agent.stop(signal.SIGKILL))

    def start(self, good: Base) -> None:
        """Start the agent and wait until a good release is committed."""
        self.agent.start()
        if self.roll_out(good, good.data) != "committed":
            raise AssertionError("the good release is not committed")

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The agent."""
        assert self.agent.process is not None
        return self.agent.process

    @property
    def socket(self) -> Path:
        """Where it serves."""
        return self.agent.folder / "state" / "agent.sock"

    def roll_out(self, base: Base, model: bytes, *, sent: bytes = b"") -> str:
        """Sign and assign a model as the next release; return how that ended.

        Args:
            base: The model that it is made of.
            model: The bytes that are signed.
            sent: What the HTTP server has in their place, if something else.
        """
        made = self.sign(base, model)
        if sent:
            self.blobs[sha256_of(model)] = sent
        self.desire(made)
        seq = self.seq
        wait_for(lambda: self.end(seq), "the end", timeout_s=END_S)
        end = self.end(seq)
        assert end is not None
        return " ".join(filter(None, (end.outcome, end.code)))

    def sign(self, base: Base, model: bytes) -> MadeRelease:
        """Put the next release into the repository, in place of the one before."""
        self.seq += 1
        number = self.seq
        release = base.release(number, model)
        manifest = encode_pretty(release)
        files = {sha256_of(model): model, **base.files}
        target = release_target(NAME, number)
        self.repository.targets = {target: manifest} | {
            file_target(NAME, number, ref): files[ref.sha256]
            for ref in release.bundle.device_files
        }
        self.blobs.clear()
        self.blobs.update(files | {sha256_of(manifest): manifest})
        return MadeRelease(number=number, target=target, artifacts=self.blobs)

    def desire(self, made: MadeRelease) -> None:
        """Publish metadata and the assignment of a release."""
        wanted = replace(assign(made, DEVICE, self.seq, self.url), forced=True)
        self.hub.metadata(self.repository.bundle())
        self.hub.desire(self.repository.assign(wanted))

    def end(self, seq: int) -> UpdateRecord | None:
        """Return how an assignment ended, once the hub has heard of it."""
        records = self.hub.model.records(Lane.STATE)
        ends = [r for r in records if isinstance(r, UpdateRecord) and r.outcome]
        return next((r for r in ends if r.assignment_seq == seq), None)

    def answer(self) -> Prediction | None:
        """Ask for a prediction; ``None``: nothing answers."""
        with contextlib.suppress(AgentError), Client(self.socket, 5.0) as client:
            return client.infer("s", samples(1)[0])
        return None
