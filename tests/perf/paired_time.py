"""How long a paired test of a full ring takes: asking, and with the process around it.

Two nets of the demo's size and its number of samples, in the real process with its
limits and its low priority. The target is for asking both releases: loading the
interpreter and NumPy is what every short-lived process of the device pays.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from edge_agent.store.artifacts import ArtifactStore
from tests.fakes.paired_bench import DATA, Made, keep, kept_windows, write_release
from tests.perf.report import Metric

ROUNDS = 7
SAMPLES = 256
SECONDS = 60.0
NETS = DATA / "demo"


def measure(folder: Path) -> list[Metric]:
    """Return the median times in seconds, of float32 and of int8 nets."""
    return [
        metric
        for kind in ("float32", "int8")
        for metric in _measure(folder / kind, kind)
    ]


def _measure(folder: Path, kind: str) -> list[Metric]:
    folder.mkdir(parents=True)
    store = ArtifactStore(folder)
    nets = (NETS / f"{name}.{kind}.tflite" for name in ("first", "anew"))
    contract, _ = (
        write_release(store, number, Made(model=net.read_bytes()))
        for number, net in enumerate(nets, start=1)
    )
    name = contract.inputs[0].tensor.name
    fd = keep(contract.inputs, [{name: one} for one in kept_windows(SAMPLES)])
    try:
        rounds = [_run(folder, fd) for _ in range(ROUNDS)]
    finally:
        os.close(fd)
    asking, whole = (statistics.median(column) for column in zip(*rounds, strict=True))
    return [
        Metric(name=f"paired_test_{kind}", value=asking, unit="s", at_most=0.5),
        Metric(name=f"paired_test_{kind}_process", value=whole, unit="s"),
    ]


def _run(folder: Path, fd: int) -> tuple[float, float]:
    """Return how long asking took, and the whole process."""
    program = [sys.executable, "-m", "edge_agent.paired_test", str(folder), "1", "2"]
    began = time.perf_counter()
    done = subprocess.run(
        [*program, str(fd), str(SECONDS)],
        capture_output=True,
        check=True,
        pass_fds=[fd],
    )
    whole_s = time.perf_counter() - began
    report = json.loads(done.stdout.splitlines()[-1])
    if report["kept"] != SAMPLES or report.get("problem"):
        raise RuntimeError(f"the paired test compared nothing: {report}")
    return float(report["took_s"]), whole_s
