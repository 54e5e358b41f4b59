"""Batches that are damaged, enormous, deep, doubled, or out of all order."""

import json
import os
import zlib

from tests.fault.hostile.outcome import Outcome, attempt
from tests.fault.hostile.scene import Scene, columns, pack
from tests.fault.hostile.wild_profiles import feedback

QUARANTINED, KEPT = Outcome.QUARANTINED, Outcome.KEPT
DROPPED, IGNORED, REFUSED = Outcome.DROPPED, Outcome.IGNORED, Outcome.REFUSED
MIB = 1 << 20
LAST = 2**53
PAINT = "\x1b[2J\x1b]0;owned\x07\u202e\u2066\u0000\r\n=1+1"
"""Clears a terminal, names its window, turns text around, begins a formula."""
EVENT = {"at": 1.0, "code": "AGENT-X-001", "severity": "info", "text": "x"}


@attempt(QUARANTINED, disk_mib=2)
def kinds_with_a_name_of_8_mib(scene: Scene) -> Outcome:
    """40 batches with a kind whose name has 8 MiB."""
    device = scene.hostile()
    payload = pack({"header": device.header(), "kinds": columns("k" * 8_000_000, [{}])})
    for _ in range(40):
        device.raw(payload)
    return scene.fate(device)


@attempt(QUARANTINED)
def a_bomb(scene: Scene) -> Outcome:
    """1 MiB that inflates to a gigabyte."""
    device = scene.hostile()
    squeezer = zlib.compressobj(9)
    payload = b"".join(squeezer.compress(bytes(MIB)) for _ in range(1000))
    device.raw((payload + squeezer.flush())[:MIB])
    return scene.fate(device)


@attempt(QUARANTINED)
def json_deeper_than_any_stack(scene: Scene) -> Outcome:
    """A million opening brackets, in a batch and in a field of it."""
    device = scene.hostile()
    deep = "[" * MIB
    head = json.dumps(device.header())
    device.raw(pack(deep))
    for kinds in (deep, f'{{"event":{{"seq":[1],"fields":{{"facts":[{deep}'):
        device.raw(pack(f'{{"header":{head},"kinds":{kinds}'))
    return scene.fate(device)


@attempt(QUARANTINED, KEPT)
def keys_that_come_twice(scene: Scene) -> Outcome:
    """A batch with two headers of different lanes and a column that comes twice."""
    device = scene.hostile()
    heads = [json.dumps(device.header(lane=lane)) for lane in ("state", "metric")]
    body = json.dumps(columns("feedback", [feedback(1)]))
    twice = body.replace('"at"', '"at": [1.0, 2.0, 3.0], "at"')
    device.raw(pack(f'{{"header":{heads[0]},"header":{heads[1]},"kinds":{twice}}}'))
    return scene.fate(device)


@attempt(QUARANTINED)
def bytes_that_are_no_batch(scene: Scene) -> Outcome:
    """Nothing at all, noise, a stream that is cut, JSON that is not UTF-8."""
    device = scene.hostile()
    whole = pack({"header": device.header(), "kinds": {}})
    for payload in (b"", os.urandom(5000), whole[:-7], zlib.compress(b'{"\xff\xfe"}')):
        device.raw(payload)
    return scene.fate(device)


@attempt(QUARANTINED)
def a_batch_on_another_lane(scene: Scene) -> Outcome:
    """A batch whose header names another lane than its topic."""
    device = scene.hostile()
    made = device.header(lane="alert")
    kinds = columns("feedback", [feedback(1)])
    device.raw(pack({"header": made, "kinds": kinds}), "metric")
    return scene.fate(device)


@attempt(QUARANTINED)
def rows_that_are_not_what_the_header_says(scene: Scene) -> Outcome:
    """One row of 2^53 announced ones, one number twice, and columns of two lengths."""
    device = scene.hostile()
    device.batch(columns("feedback", [feedback(1)]), hi=LAST)
    twice = {"seq": [1, 1], "fields": {k: [v, v] for k, v in feedback(1).items()}}
    device.batch({"feedback": twice}, 2)
    device.batch({"feedback": twice | {"seq": [1]}})
    return scene.fate(device)


@attempt(QUARANTINED, KEPT, restarts=True)
def the_last_sequence_number(scene: Scene) -> Outcome:
    """Records numbered 2^53, and a base and an eviction of as many."""
    device = scene.hostile()
    device.rows("feedback", feedback(1), lo=LAST, base=LAST - 1, evicted=LAST)
    device.rows("feedback", feedback(2), lo=1, base=LAST, evicted=LAST)
    return scene.fate(device)


@attempt(QUARANTINED, KEPT)
def a_base_ahead_of_its_rows(scene: Scene) -> Outcome:
    """A batch that gives up all records, its own among them."""
    device = scene.hostile()
    device.rows("feedback", feedback(1), base=1_000_000)
    return scene.fate(device)


@attempt(KEPT)
def gaps_everywhere(scene: Scene) -> Outcome:
    """200 batches of one record, each with a gap of a million before it."""
    device = scene.hostile()
    for n in range(1, 201):
        device.rows("feedback", feedback(n), lo=n * 1_000_000)
    return scene.fate(device)


@attempt(QUARANTINED)
def two_contents_of_one_number(scene: Scene) -> Outcome:
    """Another record under a number that is committed."""
    device = scene.hostile()
    for label in ("a", "b"):
        device.rows("feedback", feedback(1, label=label))
        device.settle()
    return scene.fate(device)


@attempt(KEPT, DROPPED, IGNORED, disk_mib=12)
def boots_by_the_thousand(scene: Scene) -> Outcome:
    """2,000 boots, each with a stream of one record in each of two lanes."""
    device = scene.hostile()
    for n in range(2000):
        boot = f"{n:016x}"
        for kind, row in (("feedback", feedback(n)), ("event", EVENT)):
            made = device.header(boot=boot, lane="alert" if row is EVENT else "metric")
            payload = pack({"header": made, "kinds": columns(kind, [row])})
            device.wire.send(f"shoal/v1/{device.name}/up/{made['lane']}", payload)
    return scene.fate(device)


@attempt(KEPT, QUARANTINED)
def times_at_the_ends_of_time(scene: Scene) -> Outcome:
    """Records of 1970 and of the year 5138, and a wall clock that says so."""
    device = scene.hostile()
    rows = [feedback(n, at=at, predicted_at=at) for n, at in enumerate((0.0, 1e11))]
    device.rows("feedback", *rows, wall_at=1e11, mono_s=1e10)
    return scene.fate(device)


@attempt(QUARANTINED, KEPT)
def another_version_of_the_protocol(scene: Scene) -> Outcome:
    """Batches of the versions 0 and 2^53."""
    device = scene.hostile()
    for lo, version in enumerate((0, LAST), start=1):
        device.rows("feedback", feedback(lo), v=version, lo=lo, base=lo - 1)
    return scene.fate(device)


@attempt(KEPT, QUARANTINED, exports=True)
def texts_that_paint_the_terminal(scene: Scene) -> Outcome:
    """Escape sequences, bidirectional marks, NUL and formulas in every text."""
    device = scene.hostile()
    wild = {"text": PAINT, "severity": PAINT, "facts": {PAINT: PAINT}}
    device.rows("event", EVENT | wild, lane="alert")
    painted = feedback(1, sample_id=PAINT, label=PAINT, predicted=PAINT)
    device.rows("feedback", painted)
    return scene.fate(device)


@attempt(QUARANTINED, KEPT, IGNORED, REFUSED)
def the_largest_packets(scene: Scene) -> Outcome:
    """A batch of exactly 1 MiB of noise, and packets of 16 MiB."""
    device = scene.hostile()
    device.raw(os.urandom(MIB))
    for _ in range(3):
        if not device.raw(bytes(16 * MIB)):
            return REFUSED
    return scene.fate(device)
