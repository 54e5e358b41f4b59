"""Swapping models under load: a real worker, several clients, none of them may fail."""

import bisect
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tests.fakes.local_load import LocalLoad
from tests.fakes.worker_device import Device
from tests.perf.report import Metric

SWAPS = 100
REQUESTS = 100_000
CLIENTS = 3
NEAR_S = 0.02
"""A request that ends this near to a swap is counted as one around it."""


def measure(folder: Path) -> list[Metric]:
    """Swap a hundred times while at least 100,000 requests are answered."""
    device = Device(folder)
    device.start()
    swaps: list[tuple[float, float]] = []
    try:
        with LocalLoad(device.state / "agent.sock", CLIENTS) as load:
            for number in range(SWAPS):
                wanted = (number + 1) * REQUESTS // SWAPS
                while load.total < wanted:
                    time.sleep(0.001)
                swaps.append(_swap(device, number))
        assert device.process is not None
        assert device.process.poll() is None
    finally:
        device.kill()
    near, far = _split(load.times_s, swaps)
    lasted = [end - start for start, end in swaps]
    return [
        Metric(name="swap_requests", value=load.total, unit=f"over {SWAPS} swaps"),
        Metric(
            name="swap_failed",
            value=sum(load.errors.values()),
            unit="requests",
            at_most=0,
        ),
        Metric(name="swap", value=1e3 * float(np.median(lasted)), unit="ms"),
        *_latencies("request_p50", 50, near, far),
        *_latencies("request_p99", 99, near, far),
    ]


def _swap(device: Device, number: int) -> tuple[float, float]:
    """Swap to the other release; return when that began and ended."""
    active = 2 - number % 2
    device.assign(active=active, previous=3 - active)
    started = time.monotonic()
    status = device.client.reload()
    assert (status.release, status.problem) == (active, "")
    return started, time.monotonic()


def _split(
    times_s: Iterable[tuple[float, float]], swaps: list[tuple[float, float]]
) -> tuple[list[float], list[float]]:
    """Share out the durations of requests: around a swap, and all others."""
    starts = [start - NEAR_S for start, _ in swaps]
    near: list[float] = []
    far: list[float] = []
    for at, took in times_s:
        place = bisect.bisect(starts, at) - 1
        is_near = place >= 0 and at - took <= swaps[place][1] + NEAR_S
        (near if is_near else far).append(took)
    return near, far


def _latencies(
    name: str, percent: int, near: list[float], far: list[float]
) -> Iterable[Metric]:
    for where, times in (("around_swaps", near), ("else", far)):
        value = 1e6 * float(np.percentile(times, percent))
        yield Metric(name=f"{name}_{where}", value=value, unit=f"us, n {len(times):,}")
