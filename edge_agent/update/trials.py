"""What tries a release in processes that nobody depends on, as ports."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from edge_agent.update.paired_trial import PairedOutcome, Releases, try_paired
from edge_agent.update.selftest import Verdict, spawn_self_test
from edge_agent.wire.control import PairedPolicy


class SelfTest(Protocol):
    """Tries a release on its golden inputs."""

    def __call__(
        self, state_dir: Path, release: int, *, interrupted: Callable[[], bool]
    ) -> Verdict | None:
        """Return its verdict, or ``None``: it was interrupted."""
        ...


class PairedTest(Protocol):
    """Has two releases answer this device's own samples."""

    def __call__(
        self,
        releases: Releases,
        policy: PairedPolicy,
        *,
        interrupted: Callable[[], bool],
    ) -> PairedOutcome | None:
        """Return the outcome, or ``None``: it was interrupted."""
        ...


def paired_on(ring: int) -> PairedTest:
    """Return the paired test over a ring's descriptor (-1: there is none)."""
    return partial(try_paired, ring=ring)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """The processes that releases are tried in."""

    self_test: SelfTest = spawn_self_test
    paired: PairedTest = field(default_factory=lambda: paired_on(-1))
