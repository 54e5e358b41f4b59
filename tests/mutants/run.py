"""Two lanes of devices that try mutants, then agents that try some of them again."""

import itertools
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fakes.agent_scene import AgentScene
from tests.fakes.model_base import Base
from tests.mutants.agent import Counts, MutantAgent
from tests.mutants.device import MutantDevice
from tests.mutants.plan import Finding, Mutant, draw

LANES = 2
UNSIGNED_SHARE = 3
FATES = ("crashed", "hung", "passed", "wrong", "budget", "refused")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How many mutants of which seed, and how many of them for a whole agent."""

    seed: int
    mutants: int
    agents: int


def try_on_devices(plan: Plan, bases: Sequence[Base], folder: Path) -> list[Finding]:
    """Give every mutant to a device; findings in the order of their numbers."""
    numbers = iter(range(plan.mutants))
    found: dict[int, Finding] = {}
    lock = threading.Lock()
    errors: list[BaseException] = []

    def lane(place: Path) -> None:
        device = MutantDevice(place, bases[0])
        try:
            while not errors:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                found[number] = device.take(draw(plan.seed, number, bases))
        except BaseException as error:  # noqa: BLE001 - told by the main thread
            errors.append(error)
        finally:
            device.close()

    threads = [
        threading.Thread(target=lane, args=(folder / f"lane-{n}",), name=f"lane-{n}")
        for n in range(LANES)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return [found[number] for number in range(plan.mutants)]


def try_on_agent(
    plan: Plan, good: Base, findings: Sequence[Finding], folder: Path
) -> Counts:
    """Give some mutants to a whole agent, signed, and some of these unsigned too."""
    with AgentScene(folder / "agent") as scene:
        agent = MutantAgent(scene, good)
        for place, mutant in enumerate(choose(findings, plan.agents)):
            agent.take_signed(mutant)
            if place % UNSIGNED_SHARE == 0:
                agent.take_unsigned(mutant)
        return agent.counts


def choose(findings: Iterable[Finding], count: int) -> list[Mutant]:
    """Return mutants of every fate in turn, the rarest fates first."""
    by_fate: dict[str, list[Mutant]] = {fate: [] for fate in FATES}
    for finding in findings:
        by_fate[finding.fate].append(finding.mutant)
    turns = itertools.zip_longest(*by_fate.values())
    mutants = [m for turn in turns for m in turn if m is not None]
    return mutants[:count]
