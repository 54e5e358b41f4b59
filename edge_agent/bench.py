"""``edge-agent bench``: what one model costs on this device, alone.

Predictions run one after another on random samples for a while; a process of its own
tells how long a start takes and how much memory it needs. As
``python -m edge_agent.bench MODEL`` this file is that process: it prints its memory
once it has answered.
"""

import hashlib
import os
import platform
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edge_agent.base.installed import agent_version, installed_runtime
from edge_agent.base.regular import read_regular
from edge_agent.engine import Engine
from edge_agent.errors import ModelError
from edge_agent.runtime.port import ANY, Array, TensorSpec
from edge_agent.sketch.latency import bin_of, quantile_us
from edge_agent.wire.bench import BenchReport

COLD_STARTS = 3
COLD_START_S = 60.0
WARM_UP = 20
POWER = Path("/sys/class/powercap")
_SEED = 3
_MICRO = 1e6


def measure(
    model: Path, seconds: float, hardware: str, progress: Callable[[float], None]
) -> BenchReport:
    """Measure a model.

    Args:
        model: A ``.tflite`` file or a bundle folder.
        seconds: How long predictions run.
        hardware: What this kind of device is called ("": the machine's name).
        progress: Told now and then which share of the time is over.

    Raises:
        ModelError: The model cannot be read, loaded or run.
    """
    with Engine.open(model) as engine:
        sample = {spec.name: _sample(spec) for spec in engine.inputs}
        for _ in range(WARM_UP):
            engine.predict(sample)
        energy = read_energy_uj()
        times_us, took_s = _run(lambda: engine.predict(sample), seconds, progress)
        used_uj = read_energy_uj() - energy
    cold = [_start_cold(model) for _ in range(COLD_STARTS)]
    data = _model_bytes(model)
    latency = Counter(map(bin_of, times_us))
    return BenchReport(
        hardware=hardware or platform.machine(),
        model=model.name,
        sha256=hashlib.sha256(data).hexdigest(),
        bytes=len(data),
        at=time.time(),
        agent=agent_version(),
        runtime=installed_runtime(),
        predictions=len(times_us),
        per_s=len(times_us) / took_s,
        p50_us=statistics.median(times_us),
        p95_us=quantile_us(latency, 0.95),
        p99_us=quantile_us(latency, 0.99),
        max_us=max(times_us),
        latency={str(place): latency[place] for place in sorted(latency)},
        cold_start_s=statistics.median(seconds for seconds, _ in cold),
        rss_bytes=int(statistics.median(rss for _, rss in cold)),
        energy_mj=max(used_uj, 0) / len(times_us) / 1e3,
    )


def read_energy_uj(folder: Path = POWER) -> int:
    """Return what the processors have used so far, in microjoules.

    0 where the kernel does not tell (only Intel's and some of AMD's do, and to root).
    """
    total = 0
    for zone in folder.glob("intel-rapl:*"):
        if zone.name.count(":") == 1:  # A whole package; its parts have two.
            try:
                total += int((zone / "energy_uj").read_text("ascii"))
            except (OSError, ValueError):
                continue
    return total


def _run(
    predict: Callable[[], object], seconds: float, progress: Callable[[float], None]
) -> tuple[list[float], float]:
    """Predict again and again; return each time in microseconds, and all of it."""
    times_us: list[float] = []
    began = told = time.perf_counter()
    while (now := time.perf_counter()) - began < seconds:
        predict()
        times_us.append((time.perf_counter() - now) * _MICRO)
        if now - told > 0.25:  # noqa: PLR2004 - four times a second
            told = now
            progress((now - began) / seconds)
    return times_us, time.perf_counter() - began


def _sample(spec: TensorSpec) -> Array:
    shape = tuple(1 if size == ANY else size for size in spec.shape)
    kind = np.dtype(spec.dtype)
    if spec.quantized or kind.kind == "f":
        floats = np.random.default_rng(_SEED).random(shape)
        return floats.astype(np.float32 if spec.quantized else kind)
    return np.zeros(shape, kind)


def _model_bytes(path: Path) -> bytes:
    from edge_agent.wire.manifest import BUNDLE_FILE, MAX_ARTIFACT_BYTES, Bundle

    if not path.is_dir():
        return read_regular(path, MAX_ARTIFACT_BYTES, follow=True)
    from edge_agent.wire.codec import MAX_DOCUMENT_BYTES, decode

    bundle = decode(read_regular(path / BUNDLE_FILE, MAX_DOCUMENT_BYTES), Bundle)
    return read_regular(path / bundle.model.name, MAX_ARTIFACT_BYTES)


def _start_cold(model: Path) -> tuple[float, int]:
    """Return how long a fresh process takes to its first answer, and its memory."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "edge_agent.bench", str(model)],
        capture_output=True,
        text=True,
        timeout=COLD_START_S,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    took_s = time.perf_counter() - began
    if done.returncode or not done.stdout.strip().isdecimal():
        why = done.stderr.strip().rpartition("\n")[2]
        raise ModelError("AGENT-MODEL-014", f"{model} cannot be measured: {why}")
    return took_s, int(done.stdout)


def _answer_once(model: Path) -> int:
    """Load a model, answer once, and return this process's memory in bytes."""
    with Engine.open(model) as engine:
        engine.predict({spec.name: _sample(spec) for spec in engine.inputs})
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    print(_answer_once(Path(sys.argv[1])))  # noqa: T201 - its one line of output
