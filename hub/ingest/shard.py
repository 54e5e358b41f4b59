"""Which ingest process takes in which device.

MQTT cannot filter by a hash, and shared subscriptions hand the batches of one device
to several processes. So each ingest process hears every batch and drops, by the topic
alone, those of devices that another one owns. Ownership only shares out the work: what
is committed once stays so whoever commits it, because the watermark is in the database
and locked while a group is written.
"""

import zlib
from dataclasses import dataclass
from typing import Self

from edge_agent.wire import topics

MAX_SHARDS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """The ``number``-th of ``of`` processes, counted from 1."""

    number: int = 1
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``NUMBER/OF``.

        Raises:
            ValueError: It is not of this form, or out of range.
        """
        number, slash, of = text.partition("/")
        if not (slash and number.isdecimal() and of.isdecimal()):
            raise ValueError(f"{text!r} is not of the form 2/4")
        shard = cls(number=int(number), of=int(of))
        if not 1 <= shard.number <= shard.of <= MAX_SHARDS:
            raise ValueError(
                f"{text!r} is not between 1/1 and {MAX_SHARDS}/{MAX_SHARDS}"
            )
        return shard

    def owns(self, topic: str) -> bool:
        """Tell whether a batch on ``topic`` is for this process.

        What is no device's topic belongs to the first, so that it is set aside once.
        """
        address = topics.parse(topic)
        place = 0 if address is None else zlib.crc32(address.device.encode()) % self.of
        return place == self.number - 1
