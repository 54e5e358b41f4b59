"""A whole agent that is given mutants: broker, HTTP, TUF, self-test, activation.

*Signed* mutants are real releases of a real repository. *Unsigned* ones come from the
artifact server in place of the file that was signed.
"""

import contextlib
import signal
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from edge_agent.errors import AgentError
from edge_agent.serve.client import Client
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
from tests.fakes.releases import NAME, MadeRelease, assign, samples
from tests.fakes.tuf_repository import TufRepository
from tests.mutants.bases import Base, sha256_of
from tests.mutants.plan import Mutant

END_S = 180.0
GOOD = 1
BAD_DIGEST = "AGENT-UPDATE-023"


@dataclass(slots=True)
class Counts:
    """What became of the mutants that an agent was given."""

    outcomes: Counter[str] = field(default_factory=Counter)
    """How often each end (outcome and code) was reported, by ``signed`` or not."""
    agent_deaths: int = 0
    worker_deaths: int = 0
    wrong_digests: int = 0
    unserved: int = 0
    problems: list[str] = field(default_factory=list)


class AgentScene(contextlib.ExitStack):
    """One agent on release 1, its broker, its hub and its artifact server."""

    def __init__(self, folder: Path, good: Base) -> None:
        """Start everything and wait until release 1 is committed."""
        super().__init__()
        self.counts = Counts()
        self._good, self._seq = good, 0
        self._repository = TufRepository()
        port = free_port()
        root = self._repository.root_versions[0]
        self._agent = Agent(folder / "agent", port, root)
        self._blobs: dict[str, bytes] = {}
        self.enter_context(running_broker(folder / "broker", port))
        self._url, _ = self.enter_context(artifact_server(self._blobs))
        self._hub = AgentHub(port, DEVICE)
        self.callback(self._hub.close)
        self.callback(lambda: self._agent.stop(signal.SIGKILL))
        self._agent.start()
        assert self._process.poll() is None
        if self._roll_out(good, good.data) != "committed":
            raise AssertionError("the good release is not committed")

    @property
    def _process(self) -> subprocess.Popen[bytes]:
        assert self._agent.process is not None
        return self._agent.process

    def take_signed(self, mutant: Mutant) -> None:
        """Roll a mutant out, and the good release again where it was committed."""
        end = self._roll_out(mutant.base, mutant.data)
        self._note(mutant, f"signed: {end}")
        if end == "committed":
            self._roll_out(self._good, self._good.data)

    def take_unsigned(self, mutant: Mutant) -> None:
        """Send a mutant's bytes, as many as were signed, for the file that was."""
        base = mutant.base
        size = len(base.data)
        sent = mutant.data.ljust(size, b"\0")[:size]
        if sent != base.data:
            end = self._roll_out(base, base.data + bytes(2), sent=sent + bytes(2))
            if end != f"failed {BAD_DIGEST}":
                self.counts.wrong_digests += 1
            self._note(mutant, f"unsigned: {end}")

    def _roll_out(self, base: Base, model: bytes, *, sent: bytes = b"") -> str:
        """Sign and assign a model as the next release; return how that ended."""
        self._seq += 1
        made = self._sign(base, model)
        if sent:
            self._blobs[sha256_of(model)] = sent
        wanted = replace(assign(made, DEVICE, self._seq, self._url), forced=True)
        self._hub.metadata(self._repository.bundle())
        self._hub.desire(self._repository.assign(wanted))
        wait_for(lambda: self._end(self._seq), "the end", timeout_s=END_S)
        end = self._end(self._seq)
        assert end is not None
        return " ".join(filter(None, (end.outcome, end.code)))

    def _sign(self, base: Base, model: bytes) -> MadeRelease:
        """Put a release into the repository, in place of the one before."""
        number = self._seq
        release = base.release(number, model)
        manifest = encode_pretty(release)
        files = {sha256_of(model): model, **base.files}
        target = release_target(NAME, number)
        self._repository.targets = {target: manifest} | {
            file_target(NAME, number, ref): files[ref.sha256]
            for ref in release.bundle.device_files
        }
        self._blobs.clear()
        self._blobs.update(files | {sha256_of(manifest): manifest})
        return MadeRelease(number=number, target=target, artifacts=self._blobs)

    def _end(self, seq: int) -> UpdateRecord | None:
        records = self._hub.model.records(Lane.STATE)
        ends = [r for r in records if isinstance(r, UpdateRecord) and r.outcome]
        return next((r for r in ends if r.assignment_seq == seq), None)

    def _note(self, mutant: Mutant, end: str) -> None:
        """Look whether everything lives and something serves."""
        counts = self.counts
        counts.outcomes[end] += 1
        if self._process.poll() is not None:
            counts.agent_deaths += 1
            counts.problems.append(f"the agent died of {mutant}")
            self._agent.start()
        deaths = len(self._agent.events("worker.died"))
        if deaths > counts.worker_deaths:
            counts.worker_deaths = deaths
            counts.problems.append(f"the worker died of {mutant}")
        try:
            wait_for(self._serves, "a serving model", timeout_s=10.0)
        except AssertionError:
            counts.unserved += 1
            counts.problems.append(f"nothing serves after {mutant}")

    def _serves(self) -> bool:
        socket = self._agent.folder / "state" / "agent.sock"
        with contextlib.suppress(AgentError), Client(socket, 5.0) as client:
            return client.infer("s", samples(1)[0]).release > 0
        return False
