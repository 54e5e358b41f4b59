"""Forks a device for each order that it reads: ``python -m tests.killpoints.server``.

Everything is imported once, so a life costs what it does and not what it loads. Started
with the counting library preloaded; its path is the only argument.
"""

import ctypes
import faulthandler
import os
import select
import sys
import time
import traceback

import httpx
import msgspec

from edge_agent.runtime import fit
from edge_agent.runtime.litert import runtime_name
from edge_agent.sketch import golden
from edge_agent.update import tuf_client
from tests.killpoints.device import Life, Order, Points, live

LIFE_S = 60.0
AT_HAND = (httpx, fit, golden, tuf_client)
"""What a device imports when it needs it."""


def main(library: str) -> int:
    """Serve orders until standard input ends."""
    points = _points(library)
    runtime_name()  # Loads it, but no model.
    for line in sys.stdin.buffer:
        life = _run(msgspec.json.decode(line, type=Order), points)
        sys.stdout.buffer.write(msgspec.json.encode(life) + b"\n")
        sys.stdout.buffer.flush()
    return 0


def _run(order: Order, points: Points) -> Life:
    out, into = os.pipe()
    child = os.fork()
    if not child:
        os.close(out)
        faulthandler.enable()
        try:
            os.write(into, msgspec.json.encode(live(order, points)))
            os._exit(0)
        except BaseException:  # noqa: BLE001 - nothing may come back from here
            traceback.print_exc()
            os._exit(70)
    os.close(into)
    said, deadline = b"", time.monotonic() + LIFE_S
    while select.select([out], [], [], max(0.0, deadline - time.monotonic()))[0]:
        part = os.read(out, 65536)
        if not part:
            break
        said += part
    else:
        os.kill(child, 9)
    os.close(out)
    _, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status) == 0:
        return msgspec.json.decode(said, type=Life)
    late = time.monotonic() > deadline
    return Life(status=71 if late else os.waitstatus_to_exitcode(status))


def _points(library: str) -> Points:
    loaded = ctypes.CDLL(library)
    loaded.killpoint_arm.argtypes = [ctypes.c_char_p, ctypes.c_long, ctypes.c_int]
    loaded.killpoint_count.restype = ctypes.c_long
    loaded.killpoint_mark.argtypes = [ctypes.c_char_p]
    return Points(
        loaded.killpoint_arm,
        loaded.killpoint_disarm,
        loaded.killpoint_count,
        loaded.killpoint_mark,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
