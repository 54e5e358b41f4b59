"""Latency ratios of real LiteRT models, measured as the paired test measures them.

Both models sit in one process and answer the same 256 samples in turns, each first
every other time; the figure is the median of candidate by incumbent. Nets of 1, 1.5, 2
and 3 times the layers, half of the tests while two processes of ours keep the cores
busy. Beside it the rule as it was: the candidate's median now by the incumbent's median
of earlier, with the load begun or ended in between.
"""

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_agent.runtime.litert import load_model
from edge_agent.runtime.port import Floats, Model
from tests.perf.evidence.rules import POLICY
from tests.perf.evidence.tally import Share, share
from tests.perf.models import convert

if TYPE_CHECKING:
    import keras

SEED = 41
SAMPLES = 256
REPEATS = 200
OLD_LIMIT = 3.0
LAYERS = {"1x": 12, "1.5x": 21, "2x": 30, "3x": 48}
"""By measurement: what a call costs beside its layers is worth six of them."""
WIDTH = 128
CORES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Slowness:
    """What was found of a candidate of so many times the cost, in one condition."""

    cost: str
    is_busy: bool
    ratio: float
    stopped: Share
    stopped_before: Share


def make_layered(folder: Path) -> dict[str, Path]:
    """Write the nets where they are missing; return their files by cost."""
    files = {cost: folder / f"layers-{n}.tflite" for cost, n in LAYERS.items()}
    for cost, file in files.items():
        if not file.exists():
            folder.mkdir(parents=True, exist_ok=True)
            part = file.with_suffix(".part")
            part.write_bytes(convert(partial(_layered, LAYERS[cost])))
            part.replace(file)
    return files


def measure_slowness(folder: Path) -> list[Slowness]:
    """Judge each net against the smallest, many times quiet and busy."""
    files = make_layered(folder)
    models = {cost: load_model(file.read_bytes()) for cost, file in files.items()}
    incumbent = load_model(files["1x"].read_bytes())
    rows = np.random.default_rng(SEED).normal(size=(SAMPLES, WIDTH)).astype(np.float32)
    quiet = {cost: _tests(incumbent, model, rows) for cost, model in models.items()}
    with busy_cores():
        busy = {cost: _tests(incumbent, model, rows) for cost, model in models.items()}
    return [
        _slowness(cost, now, other, is_busy=is_busy)
        for cost in LAYERS
        for is_busy, now, other in (
            (False, quiet[cost], busy[cost]),
            (True, busy[cost], quiet[cost]),
        )
    ]


Times = list[tuple[Floats, Floats]]


def _slowness(cost: str, now: Times, other: Times, *, is_busy: bool) -> Slowness:
    ratios = [float(np.median(two / one)) for one, two in now]
    # The rule as it was compared moments: half of the time the load has changed.
    earlier = [pair[0] for both in zip(now, other, strict=True) for pair in both]
    later = [pair[1] for pair in now for _ in range(2)]
    old = [np.median(b) / np.median(a) for a, b in zip(earlier, later, strict=True)]
    return Slowness(
        cost=cost,
        is_busy=is_busy,
        ratio=float(np.median(ratios)),
        stopped=share(ratio > POLICY.latency_ratio_max for ratio in ratios),
        stopped_before=share(bool(ratio > OLD_LIMIT) for ratio in old),
    )


def _tests(incumbent: Model, candidate: Model, rows: Floats) -> Times:
    return [_test(incumbent, candidate, rows) for _ in range(REPEATS)]


def _test(incumbent: Model, candidate: Model, rows: Floats) -> tuple[Floats, Floats]:
    """Return microseconds of both on each sample."""
    times = np.empty((2, len(rows)), np.float32)
    models = (incumbent, candidate)
    for place, row in enumerate(rows):
        for turn in range(2):
            which = (place + turn) % 2
            start = time.perf_counter_ns()
            models[which].predict(row)
            times[which, place] = (time.perf_counter_ns() - start) / 1000
    return times[0], times[1]


@contextmanager
def busy_cores() -> Iterator[None]:
    """Keep the cores busy with processes of our own; end them by their id."""
    context = multiprocessing.get_context("spawn")
    burners = [context.Process(target=_burn, daemon=True) for _ in range(CORES)]
    for burner in burners:
        burner.start()
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.join()


def _burn() -> None:
    while True:
        sum(range(10_000))


def _layered(layers: int) -> "keras.Model":
    from keras import Sequential
    from keras.layers import Dense, Input

    hidden = [Dense(WIDTH, activation="relu") for _ in range(layers)]
    return Sequential([Input((WIDTH,)), *hidden, Dense(4, activation="softmax")])
