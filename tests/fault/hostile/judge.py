"""Whether a hub and its honest devices are as they should be after an attempt."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.fault.hostile.arena import Arena, hub_command
from tests.fault.hostile.outcome import Attempt, Outcome
from tests.fault.hostile.scene import Scene

RSS_GROWTH_MIB = 192.0
"""For any one attempt: a few batches of 8 MiB as objects, which the allocator keeps."""
BROKER_GROWTH_MIB = 32.0
CONTROL_CHARACTERS = frozenset("\x1b\x07\u202e\u2066\x00")


@dataclass(frozen=True, slots=True)
class Vitals:
    """What an attempt may change only so far."""

    rss_mib: float
    disk_mib: float
    broker_mib: float

    @classmethod
    def of(cls, arena: Arena) -> Self:
        """Read them."""
        return cls(arena.rss_mib(), arena.disk_mib(), arena.broker_mib())


def find_harm(
    scene: Scene, attempt: Attempt, before: Vitals, observed: Outcome
) -> list[str]:
    """Return all that is not as it should be; nothing where the hub held."""
    arena = scene.arena
    harm = [] if observed in attempt.right else [f"{observed}, not {attempt.right}"]
    if not arena.alive:
        return [*harm, f"the hub ended:\n{arena.last_words()}"]
    harm += _unheard(arena)
    if not arena.web.healthy():
        return [*harm, f"/healthz does not answer:\n{arena.last_words()}"]
    harm += _grown(before, Vitals.of(arena), attempt)
    if not harm and attempt.exports:
        harm += _commands(scene)
    if not harm and attempt.restarts:
        arena.stop_hub()
        arena.start_hub()
        harm += _unheard(arena)
    return harm


def _unheard(arena: Arena) -> list[str]:
    """Return what honest devices find: the ticker, ingest, and their own records."""
    harm = []
    for device in arena.honest:
        try:
            device.heartbeat(arena.books)
            device.beat()
        except AssertionError as error:
            return [str(error)]
        if lost := device.lost(arena.books):
            harm.append(f"{lost} records of {device.name} are lost")
    return harm


def _grown(before: Vitals, after: Vitals, attempt: Attempt) -> list[str]:
    bounds = (
        ("memory", after.rss_mib - before.rss_mib, RSS_GROWTH_MIB),
        ("disk", after.disk_mib - before.disk_mib, attempt.disk_mib),
        ("broker", after.broker_mib - before.broker_mib, BROKER_GROWTH_MIB),
    )
    return [
        f"{what} grew by {grown:.1f} MiB, more than {bound} MiB"
        for what, grown, bound in bounds
        if grown > bound
    ]


def _commands(scene: Scene) -> list[str]:
    """Run the commands that read everything; what they print may not be acted on."""
    arena = scene.arena
    file = arena.folder / f"export-{len(list(arena.folder.glob('export-*')))}.db"
    words: tuple[tuple[str, ...], ...] = (
        ("export", "--sqlite", str(file)),
        ("devices", "list"),
        ("devices", "get", scene.cast[0].name),
    )
    harm = []
    for command in words:
        done = hub_command(Path(arena.home.path), *command)
        name = " ".join(command[:2])
        if done.returncode:
            harm.append(f"`hub {name}` fails: {_tail(done)}")
        if CONTROL_CHARACTERS & set(done.stdout + done.stderr):
            harm.append(f"`hub {name}` prints what a terminal acts on")
    return harm


def _tail(done: "subprocess.CompletedProcess[str]") -> str:
    return (done.stdout + done.stderr).strip()[-300:]
