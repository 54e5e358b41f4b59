"""One worker, many requests, and its resident memory after every hundredth of them.

What a worker keeps is bounded: the latest predictions, their inputs, a window, the
database's pages. All of it has to be full by the end of the warm-up, a fifth of the
requests; from then on nothing may grow. Requests are what devices send: new ids, one
sample in 64 a bad one, some labels, the supervisor's questions, and (one to ten) the
Open Inference Protocol.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_agent.errors import SampleRejectedError
from edge_agent.serve.client import Client
from edge_agent.wire.topics import Lane
from tests.fakes.worker_device import LABELS, Device, samples, wait_for
from tests.perf.processes import rss_bytes
from tests.perf.raw_http import RawHttp, binary_request

MARKS = 100
FIFTH = MARKS // 5
HTTP_SHARE = 10
LABEL_SHARE = 32
INPUTS = 64
LANE_BYTES = 64 << 10
"""Of each lane of the outbox: full, and evicting, before the warm-up is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was asked, and the memory in KiB after every hundredth of it."""

    framed: int
    http: int
    rss_kib: list[int]

    @property
    def grown_kib(self) -> int:
        """By how much the last fifth was above the one after the warm-up.

        The highest of a fifth is compared with the highest: what comes and goes is in
        both.
        """
        return max(self.rss_kib[-FIFTH:]) - max(self.rss_kib[FIFTH : 2 * FIFTH])

    @property
    def leaks(self) -> bool:
        """Whether a byte or more stayed of each request between the two.

        Nothing that Python could forget is as small; an allocator that is still
        settling is below it once there are many requests.
        """
        return self.grown_kib * 1024 >= self.framed * 3 // 5


def soak(folder: Path, requests: int) -> Outcome:
    """Send ``requests`` framed requests to a new worker, and a tenth over HTTP.

    Raises:
        AssertionError: The worker died, or answered something else than it should.
    """
    device = Device(folder)
    config = device.config.read_text("utf-8")
    lanes = "".join(f"{lane}_bytes = {LANE_BYTES}\n" for lane in Lane)
    device.config.write_text(config.replace("[outbox]\n", f"[outbox]\n{lanes}"))
    device.start()
    process = device.process
    assert process is not None
    try:
        address = device.state / "http.sock"
        wait_for(address.exists)
        with RawHttp(str(address)) as http:
            rss_kib = [
                rss_bytes(process.pid) // 1024
                for _ in _steps(device.client, http, requests)
            ]
        assert process.poll() is None
    finally:
        device.kill()
    return Outcome(framed=requests, http=requests // HTTP_SHARE, rss_kib=rss_kib)


def _steps(client: Client, http: RawHttp, requests: int) -> Iterator[int]:
    """Send everything; stop at every hundredth."""
    inputs = samples(INPUTS)
    inputs[-1, 0, 0] = np.nan
    over_http = [binary_request("tiny", sample) for sample in inputs[:-1]]
    for number in range(1, requests + 1):
        place = number % INPUTS
        bad = place == INPUTS - 1
        with contextlib.suppress(SampleRejectedError):
            client.infer(f"sample-{number}", inputs[place])
            assert not bad
        if number % HTTP_SHARE == 0:
            http.ask(over_http[number % len(over_http)])
        if number % LABEL_SHARE == 0:
            client.feedback(f"sample-{number}", LABELS[place % len(LABELS)])
        if number % (requests // MARKS) == 0:
            client.stats()
            client.recent(limit=10)
            client.check()
            yield number
