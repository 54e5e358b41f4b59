"""Profiles, health, feedback and samples whose values cannot be right."""

import base64
import hashlib
import json
import struct
import time
from typing import Any

from edge_agent.wire.codec import decode
from edge_agent.wire.profile import ReferenceProfile
from edge_agent.wire.topics import Leaf
from tests.fault.hostile.arena import wait_for
from tests.fault.hostile.outcome import Outcome, attempt
from tests.fault.hostile.scene import Hostile, Scene, pack

QUARANTINED, KEPT = Outcome.QUARANTINED, Outcome.KEPT
DROPPED = Outcome.DROPPED
ROWS = 600
"""More than a baseline of 560 asks for, and than recent windows of 280."""
HUGE = 2**53
WRAPS = [16_777_232, 1_099_510_579_201]
"""The product of these is 16 modulo 2^64."""


def profile(scene: Scene, place: int = 0, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return a profile of 600 rows, all in one bin a channel, with changes."""
    data = (scene.arena.folder / "bundle" / "reference.json").read_bytes()
    channels = decode(data, ReferenceProfile).channels
    counts = [[0] * channel.bins for channel in channels]
    for channel in counts:
        channel[place % len(channel)] = ROWS
    moments = [moment() for _ in channels]
    content = {"rows": ROWS, "counts": counts, "moments": moments}
    now = time.time()
    return {
        "at": now,
        "release": 1,
        "reference": hashlib.sha256(data).hexdigest(),
        "window_start_at": now - 60,
        "window_end_at": now,
        "profile": content | changes,
    }


def moment(**changes: float) -> dict[str, float]:
    """Return moments of a channel, with changes."""
    plain = {"n": ROWS, "mean": 0.5, "m2": 1.0, "low": 0.0, "high": 1.0}
    return plain | changes


def announce(scene: Scene, device: Hostile) -> None:
    """Report that a device runs release 1, in a cohort of this attempt alone."""
    own = {"device": device.name, "boot": device.boot, "at": time.time()}
    labels = {"cohort": cohort(scene)}
    device.control(Leaf.PRESENCE, own | {"online": True, "labels": labels})
    device.control(Leaf.REPORTED, own | {"version": 1, "release": 1})


def cohort(scene: Scene) -> str:
    """Return the cohort of the devices of this attempt."""
    return f"attempt-{scene.number}"


def feedback(number: int, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return a label, with changes."""
    plain = {
        "at": 1.0,
        "sample_id": f"s{number}",
        "release": 1,
        "predicted": "a",
        "label": "b",
        "correct": False,
        "confidence": 0.5,
        "predicted_at": 1.0,
    }
    return plain | changes


def sample(number: int, shape: list[int], data: bytes) -> dict[str, Any]:
    """Return a sample."""
    return {
        "at": 1.0,
        "sample_id": f"s{number}",
        "release": 1,
        "consent": "nobody-asked",
        "label": "move-1",
        "predicted": "move-2",
        "shape": shape,
        "data": base64.b64encode(data).decode(),
    }


@attempt(KEPT, QUARANTINED, restarts=True)
def moments_of_one_channel_only(scene: Scene) -> Outcome:
    """Profiles of 600 rows with right counts and a single entry in `moments`, twice."""
    device = scene.hostile()
    announce(scene, device)
    for seq in (1, 2):
        row = profile(scene, seq, moments=[moment()])
        device.rows("profile", row, lo=seq, base=seq - 1)
    return scene.fate(device)


@attempt(QUARANTINED, restarts=True)
def means_beyond_all_numbers(scene: Scene) -> Outcome:
    """Two drifting devices with means of +1e308 and -1e308, each of 2^53 values."""
    fates = []
    for mean in (1e308, -1e308):
        device = scene.hostile()
        announce(scene, device)
        for seq in (1, 2):
            moments = [moment(n=HUGE, mean=mean if seq == 2 else 0.0)] * 9
            device.rows(
                "profile", profile(scene, seq, moments=moments), lo=seq, base=seq - 1
            )
        fates.append(scene.fate(device))
    return fates[-1]


@attempt(QUARANTINED, exports=True)
def a_negative_second_moment(scene: Scene) -> Outcome:
    """A profile whose sum of squared deviations is -1."""
    device = scene.hostile()
    device.rows("profile", profile(scene, moments=[moment(m2=-1.0)] * 9))
    return scene.fate(device)


@attempt(QUARANTINED)
def a_number_that_is_none(scene: Scene) -> Outcome:
    """`NaN`, `Infinity` and `1e999` where numbers belong."""
    device = scene.hostile()
    for seq, mean in enumerate((float("nan"), float("inf")), start=1):
        device.rows("profile", profile(scene, moments=[moment(mean=mean)]), lo=seq)
    text = '{"at":[1],"uptime_s":[1],"release":[0],"latency_p50_us":[1e999]}'
    head = json.dumps(device.header())
    kinds = f'{{"health":{{"seq":[1],"fields":{text}}}}}'
    device.raw(pack(f'{{"header":{head},"kinds":{kinds}}}'))
    return scene.fate(device)


@attempt(QUARANTINED, KEPT)
def counts_of_everything(scene: Scene) -> Outcome:
    """Profiles in which every count, row and latency is 2^53."""
    device = scene.hostile()
    announce(scene, device)
    for seq in (1, 2, 3):
        row = profile(scene, seq, rows=HUGE, latency={"1": HUGE})
        counts = [[HUGE] * len(channel) for channel in row["profile"]["counts"]]
        row["profile"]["counts"] = counts
        device.rows("profile", row, lo=seq, base=seq - 1)
    return scene.fate(device)


@attempt(QUARANTINED, KEPT, exports=True)
def counts_of_no_known_shape(scene: Scene) -> Outcome:
    """Profiles of 256 channels with 256 bins, of none, and of channels without bins."""
    device = scene.hostile()
    announce(scene, device)
    shapes: list[list[list[int]]] = [[[1] * 256] * 256, [], [[]] * 9]
    for seq, counts in enumerate(shapes, start=1):
        row = profile(scene, counts=counts)
        device.rows("profile", row, lo=seq, base=seq - 1)
    return scene.fate(device)


@attempt(QUARANTINED, KEPT, exports=True)
def latencies_that_are_no_bins(scene: Scene) -> Outcome:
    """Latency bins called `x`, `-1` and 10^400, and 50,000 reasons of rejection."""
    device = scene.hostile()
    announce(scene, device)
    latency = {"x": 1, "-1": 1, "1" + "0" * 400: 1}
    rejected = {f"reason {n}": 1 for n in range(50_000)}
    device.rows("profile", profile(scene, latency=latency, rejected=rejected))
    return scene.fate(device)


@attempt(QUARANTINED, KEPT)
def windows_that_end_before_they_begin(scene: Scene) -> Outcome:
    """A window from the year 5138 to 1970."""
    device = scene.hostile()
    row = profile(scene) | {"window_start_at": 1e11, "window_end_at": 0.0}
    device.rows("profile", row)
    return scene.fate(device)


@attempt(QUARANTINED, KEPT)
def health_at_every_bound(scene: Scene) -> Outcome:
    """Health records with every number at its bound, and latencies of -1e308."""
    device = scene.hostile()
    counters = ("predictions", "rejected", "errors", "worker_restarts", "sink_lost")
    row = dict.fromkeys(counters, HUGE) | {
        "at": 1e11,
        "uptime_s": 1e10,
        "release": 2**31,
        "latency_p50_us": -1e308,
        "latency_p95_us": 1e308,
        "celsius": 1000.0,
    }
    device.rows("health", row)
    return scene.fate(device)


@attempt(KEPT, DROPPED, disk_mib=24)
def labels_of_unknown_releases(scene: Scene) -> Outcome:
    """Labels of 20,000 releases that no hub ever had."""
    device = scene.hostile()
    for lo in range(1, 20_001, 1000):
        rows = [feedback(n, release=n + 1000) for n in range(lo, lo + 1000)]
        device.rows("feedback", *rows, lo=lo, base=lo - 1)
    return scene.fate(device)


@attempt(QUARANTINED, restarts=True)
def a_sample_whose_shape_wraps(scene: Scene) -> Outcome:
    """While a job collects: a sample of a shape whose product wraps to what fits."""
    pair = scene.hostile(), scene.hostile()
    for device in pair:
        announce(scene, device)
        for seq in (1, 2):
            device.rows("profile", profile(scene, seq), lo=seq, base=seq - 1)
    books = scene.arena.books
    wait_for(lambda: books.drifting(cohort(scene)), "an alert of drift")
    device = scene.hostile()
    announce(scene, device)
    device.rows("sample", sample(1, WRAPS, b"\0" * 64), lane="sample")
    pair[0].rows("sample", sample(2, WRAPS, b"\0" * 64), lane="sample")
    return scene.fate(device)


@attempt(QUARANTINED)
def a_sample_that_is_not_its_shape(scene: Scene) -> Outcome:
    """Samples of 4 bytes of a shape for 600 numbers, and of a shape of 2^53."""
    device = scene.hostile()
    device.rows("sample", sample(1, [100, 6], b"\0" * 4), lane="sample")
    device.rows("sample", sample(1, [HUGE] * 8, b""), lane="sample")
    return scene.fate(device)


@attempt(KEPT, DROPPED, QUARANTINED)
def samples_that_nobody_asked_for(scene: Scene) -> Outcome:
    """Answers to a command that was never sent, under a consent that nobody gave."""
    device = scene.hostile()
    number = struct.pack("<f", 1.0)
    rows = [sample(n, [1], number) for n in range(100)]
    device.rows("sample", *rows, lane="sample")
    return scene.fate(device)


@attempt(KEPT, DROPPED, QUARANTINED, disk_mib=40)
def samples_that_take_a_year_of_disk(scene: Scene) -> Outcome:
    """64 MiB of valid samples that are 200 KiB on the wire."""
    device = scene.hostile()
    for lo in range(1, 81, 8):
        rows = [sample(n, [150_000], b"\0" * 600_000) for n in range(lo, lo + 8)]
        device.rows("sample", *rows, lo=lo, base=lo - 1, lane="sample")
    return scene.fate(device)
