"""``scripts/torture --hostile``: an honest fleet beside two hostile devices.

First the fleet is alone: how long its acknowledgements take then is the measure. Then
the hostile devices go through the attempts in turn until the time is up.
"""

import itertools
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from edge_agent.base.exit_codes import ExitCode
from tests.fault.hostile import kit
from tests.fault.hostile.arena import Arena
from tests.fault.hostile.honest import HonestDevice, UnheardError
from tests.fault.hostile.scene import Scene

HONEST, HOSTILE = 20, 2
BEAT_S = 0.5
CALM_SHARE, CALM_S = 0.1, 60.0
"""The fleet is alone for a tenth of the time, at most for a minute."""
SLOWER_MAX = 3.0
RSS_MAX_MIB, DISK_MAX_MIB = 512.0, 256.0
LEFT_OUT = frozenset({"revoked-and-still-talking", "a-storm-of-connections"})
"""They end the session of a device that has others under the same name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was found; times in seconds, sizes in MiB."""

    seed: int
    attempts: int
    acknowledged: int
    lost: int
    unheard: int
    calm_p50_s: float
    calm_p99_s: float
    p50_s: float
    p99_s: float
    rss_max_mib: float
    disk_max_mib: float
    restarts: int

    def rows(self) -> list[tuple[str, str, str, bool]]:
        """Return what each figure is, its value, its bound, and whether it holds."""
        slowest = SLOWER_MAX * self.calm_p99_s
        return [
            ("honest records lost", f"{self.lost}", "0", not self.lost),
            ("honest batches unheard", f"{self.unheard}", "0", not self.unheard),
            (
                "honest ack p99",
                f"{self.p99_s:.3f} s (calm: {self.calm_p99_s:.3f} s)",
                f"{slowest:.3f} s",
                self.p99_s <= slowest,
            ),
            (
                "memory of the hub",
                f"{self.rss_max_mib:.0f} MiB",
                f"{RSS_MAX_MIB:.0f} MiB",
                self.rss_max_mib <= RSS_MAX_MIB,
            ),
            (
                "database, WAL and log",
                f"{self.disk_max_mib:.0f} MiB",
                f"{DISK_MAX_MIB:.0f} MiB",
                self.disk_max_mib <= DISK_MAX_MIB,
            ),
            ("restarts of the hub", f"{self.restarts}", "0", not self.restarts),
        ]


class Crowd:
    """The honest devices, each beating in a thread of its own."""

    def __init__(self, devices: Sequence[HonestDevice]) -> None:
        """Start nothing."""
        self._devices, self._stop = devices, threading.Event()
        self._taken: list[float] = []
        self.unheard = 0
        self._threads = [
            threading.Thread(target=self._beat, args=(device,)) for device in devices
        ]

    def start(self) -> None:
        """Start beating."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop beating and wait for the last acknowledgement."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def take(self) -> list[float]:
        """Return and forget how long acknowledgements took."""
        taken, self._taken = self._taken, []
        return sorted(taken)

    def _beat(self, device: HonestDevice) -> None:
        while not self._stop.wait(BEAT_S):
            try:
                self._taken.append(device.beat())
            except UnheardError:
                self.unheard += 1


class Villain(threading.Thread):
    """A hostile device that goes through the attempts in an order of its own."""

    def __init__(self, arena: Arena, number: int, seed: int) -> None:
        """Prepare; the same seed gives the same order."""
        super().__init__()
        self._arena, self._number = arena, number
        names = sorted(kit.ATTEMPTS.keys() - LEFT_OUT)
        random.Random(f"{seed}/{number}").shuffle(names)
        self._names = itertools.cycle(names)
        self.stopping = threading.Event()
        self.attempts = 0

    def run(self) -> None:
        """Attempt one after another until told to stop; each has a boot of its own."""
        while not self.stopping.is_set() and self._arena.alive:
            scene = Scene(self._arena, self._number)
            try:
                kit.ATTEMPTS[next(self._names)].act(scene)
            except (AssertionError, OSError):
                pass  # What it met is the hub's answer; the fleet tells the harm.
            finally:
                scene.close()
            self.attempts += 1


def soak(arena: Arena, minutes: float, seed: int) -> Report:
    """Measure the calm, let the hostile devices loose, and count."""
    crowd = Crowd(arena.honest)
    crowd.start()
    whole_s = minutes * 60
    time.sleep(min(CALM_SHARE * whole_s, CALM_S))
    calm = crowd.take()
    villains = [Villain(arena, number, seed) for number in range(HOSTILE)]
    for villain in villains:
        villain.start()
    rss, disk = _watch(arena, time.monotonic() + whole_s)
    for villain in villains:
        villain.stopping.set()
    crowd.stop()
    for villain in villains:
        villain.join()
    taken = crowd.take()
    return Report(
        seed=seed,
        attempts=sum(villain.attempts for villain in villains),
        acknowledged=sum(device.acknowledged for device in arena.honest),
        lost=sum(device.lost(arena.books) for device in arena.honest),
        unheard=crowd.unheard,
        calm_p50_s=_quantile(calm, 0.5),
        calm_p99_s=_quantile(calm, 0.99),
        p50_s=_quantile(taken, 0.5),
        p99_s=_quantile(taken, 0.99),
        rss_max_mib=rss,
        disk_max_mib=disk,
        restarts=int(not arena.alive),
    )


def _watch(arena: Arena, until: float) -> tuple[float, float]:
    """Return the most memory and disk until the time is up, or the hub ends."""
    rss = disk = 0.0
    while time.monotonic() < until and arena.alive:
        try:
            rss = max(rss, arena.rss_mib())
        except (OSError, StopIteration):
            break  # It has just ended.
        disk = max(disk, arena.disk_mib())
        time.sleep(0.5)
    return rss, disk


def _quantile(taken: Sequence[float], share: float) -> float:
    """Return a quantile of what is sorted; infinite where there is nothing."""
    if not taken:
        return float("inf")
    return taken[min(len(taken) - 1, int(share * len(taken)))]


@click.command()
@click.option("--minutes", type=click.FloatRange(min=0.1), default=10.0)
@click.option("--devices", type=click.IntRange(min=2), default=HONEST)
@click.option("--seed", type=int, default=1)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write a file.")
def main(minutes: float, devices: int, seed: int, file: Path | None) -> None:
    """Let two hostile devices loose on a hub with an honest fleet."""
    with (
        tempfile.TemporaryDirectory(prefix="shoal-hostile-") as name,
        Arena(Path(name), devices) as arena,
    ):
        report = soak(arena, minutes, seed)
        last_words = "" if arena.alive else arena.last_words()
    rows = report.rows()
    click.echo("| what | found | bound | holds |\n|---|---|---|---|")
    for what, found, bound, holds in rows:
        click.echo(f"| {what} | {found} | {bound} | {'yes' if holds else 'NO'} |")
    click.echo(f"seed {seed}: {report.attempts} attempts.\n{last_words}".rstrip())
    ok = all(holds for *_, holds in rows)
    if file is not None:
        document = asdict(report) | {"ok": ok}
        file.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    sys.exit(ExitCode.OK if ok else ExitCode.FAILED)


if __name__ == "__main__":
    main()
