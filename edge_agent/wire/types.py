"""Bounded field types and the two base structs of the contract.

Every field of every message has a bound, so a decoder can never be made to build
something large from something small.
"""

from typing import Annotated

from msgspec import Meta, Struct
from msgspec.json import Decoder

from edge_agent.wire.topics import DEVICE_ID_PATTERN

DeviceId = Annotated[str, Meta(pattern=DEVICE_ID_PATTERN)]
BootId = Annotated[str, Meta(pattern=r"^[0-9a-f]{16}\Z")]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}\Z")]
Code = Annotated[str, Meta(pattern=r"^[A-Z]+(-[A-Z]+)+-[0-9]{3}\Z")]
Text = Annotated[str, Meta(max_length=1024)]
Short = Annotated[str, Meta(max_length=128)]
SampleId = Annotated[str, Meta(min_length=1, max_length=128)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Seq = Annotated[int, Meta(ge=1, le=2**53)]
ReleaseNumber = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Seconds = Annotated[float, Meta(ge=0, le=1e10)]
Instant = Annotated[float, Meta(ge=0, le=1e11)]
"""Wall time: seconds since 1970-01-01 UTC."""
Ratio = Annotated[float, Meta(ge=0, le=1)]
Labels = Annotated[dict[Short, Short], Meta(max_length=32)]
Counts = Annotated[list[Count], Meta(max_length=256)]
Floats = Annotated[list[float], Meta(max_length=4096)]


def prepare(*kinds: object) -> None:
    """Let msgspec build now what it needs to decode these types.

    It builds that at a type's first use, and two threads that use one for the first
    time at once crash the process (msgspec 0.22). A module that defines what several
    threads decode calls this as it is imported.
    """
    for kind in kinds:
        Decoder(kind)


class Message(Struct, frozen=True, kw_only=True, gc=False):
    """A message or a part of one: immutable, keyword-only, tolerant of new fields."""


class Strict(Message, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A document a person writes: an unknown key is an error."""
