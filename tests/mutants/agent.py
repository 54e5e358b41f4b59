"""A whole agent that is given mutants: broker, HTTP, TUF, self-test, activation.

*Signed* mutants are real releases of a real repository. *Unsigned* ones come from the
artifact server in place of the file that was signed.
"""

from collections import Counter
from dataclasses import dataclass, field

from tests.fakes.agent_hub import wait_for
from tests.fakes.agent_scene import AgentScene
from tests.fakes.model_base import Base
from tests.mutants.plan import Mutant

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


class MutantAgent:
    """An agent on release 1 that is given one mutant after the other."""

    def __init__(self, scene: AgentScene, good: Base) -> None:
        """Start the agent."""
        self.counts = Counts()
        self._scene, self._good = scene, good
        scene.start(good)

    def take_signed(self, mutant: Mutant) -> None:
        """Roll a mutant out, and the good release again where it was committed."""
        end = self._scene.roll_out(mutant.base, mutant.data)
        self._note(mutant, f"signed: {end}")
        if end == "committed":
            self._scene.roll_out(self._good, self._good.data)

    def take_unsigned(self, mutant: Mutant) -> None:
        """Send a mutant's bytes, as many as were signed, for the file that was."""
        base = mutant.base
        size = len(base.data)
        sent = mutant.data.ljust(size, b"\0")[:size]
        if sent == base.data:
            return
        signed = base.data + bytes(2)
        end = self._scene.roll_out(base, signed, sent=sent + bytes(2))
        if end != f"failed {BAD_DIGEST}":
            self.counts.wrong_digests += 1
            self.counts.problems.append(f"{end} with other bytes: {mutant}")
        self._note(mutant, f"unsigned: {end}")

    def _note(self, mutant: Mutant, end: str) -> None:
        """Look whether everything lives and something serves."""
        counts, agent = self.counts, self._scene.agent
        counts.outcomes[end] += 1
        if self._scene.process.poll() is not None:
            counts.agent_deaths += 1
            counts.problems.append(f"the agent died of {mutant}")
            agent.start()
        deaths = len(agent.events("worker.died"))
        if deaths > counts.worker_deaths:
            counts.worker_deaths = deaths
            counts.problems.append(f"the worker died of {mutant}")
        try:
            wait_for(self._serves, "a serving model", timeout_s=10.0)
        except AssertionError:
            counts.unserved += 1
            counts.problems.append(f"nothing serves after {mutant}")

    def _serves(self) -> bool:
        answer = self._scene.answer()
        return answer is not None and answer.release > 0
