"""Records of one device in a run of the demo, in the order of each lane.

``tests/data/demo-records.tsv.gz`` holds a device's lanes in the proportions of the
whole run, one record a line: lane, tab, the record's JSON as the hub stored it.
"""

import gzip
from pathlib import Path

from edge_agent.wire.topics import Lane

FILE = Path(__file__).parents[1] / "data" / "demo-records.tsv.gz"


def read_recorded() -> dict[Lane, list[bytes]]:
    """Return the encoded records of each lane."""
    lanes: dict[Lane, list[bytes]] = {}
    for line in gzip.decompress(FILE.read_bytes()).splitlines():
        lane, body = line.split(b"\t", 1)
        lanes.setdefault(Lane(lane.decode()), []).append(body)
    return lanes
