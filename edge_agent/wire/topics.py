"""Topic names: build and parse. The only place that knows the topic tree.

``{d}`` is a device id. It is one topic level and an MQTT client id, so it holds
nothing but letters, digits, ``_`` and ``-`` (NATS refuses ``.`` in client ids).
"""

import re
from enum import StrEnum
from typing import NamedTuple

from edge_agent.wire.version import TOPIC_PREFIX

DEVICE_ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}\Z"
_DEVICE_ID = re.compile(DEVICE_ID_PATTERN)
HUB_TUF = f"{TOPIC_PREFIX}/hub/tuf"


class Lane(StrEnum):
    """An independent stream of records; the order is the order of sending."""

    ALERT = "alert"
    STATE = "state"
    METRIC = "metric"
    SAMPLE = "sample"


class Leaf(StrEnum):
    """The topics of a device other than its lanes."""

    PRESENCE = "presence"
    REPORTED = "reported"
    DESIRED = "desired"
    ACK = "ack"
    CMD = "cmd"
    BLOCK_GET = "block/get"
    BLOCK_DATA = "block/data"


class Address(NamedTuple):
    """A parsed topic: whose it is, and which lane or leaf."""

    device: str
    kind: Lane | Leaf


def is_device_id(text: str) -> bool:
    """Tell whether ``text`` may be used as a device id."""
    return _DEVICE_ID.fullmatch(text) is not None and text != "hub"


def up(device: str, lane: Lane) -> str:
    """Topic of the record batches of one lane of a device."""
    return f"{TOPIC_PREFIX}/{device}/up/{lane}"


def leaf(device: str, kind: Leaf) -> str:
    """Topic of a device's presence, twin, acknowledgements or commands."""
    return f"{TOPIC_PREFIX}/{device}/{kind}"


def any_up() -> str:
    """Filter that matches every lane of every device."""
    return f"{TOPIC_PREFIX}/+/up/+"


def any_up_of(device: str) -> str:
    """Filter that matches every lane of one device."""
    return f"{TOPIC_PREFIX}/{device}/up/+"


def any_leaf(kind: Leaf) -> str:
    """Filter that matches one leaf of every device."""
    return f"{TOPIC_PREFIX}/+/{kind}"


def parse(topic: str) -> Address | None:
    """Parse a device topic.

    Returns:
        The address, or ``None`` if the topic is not one of a device.
    """
    if not topic.startswith(TOPIC_PREFIX + "/"):
        return None
    device, _, rest = topic[len(TOPIC_PREFIX) + 1 :].partition("/")
    if not is_device_id(device):
        return None
    try:
        if rest.startswith("up/"):
            return Address(device, Lane(rest[3:]))
        return Address(device, Leaf(rest))
    except ValueError:
        return None
