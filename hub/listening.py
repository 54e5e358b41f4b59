"""Which devices' batches the hub subscribes to: normally all, by one filter.

While devices flood it names all the others (:mod:`hub.ingest.hearing`); the link sends
what changes. Pure.
"""

from collections.abc import Collection, Iterator

from edge_agent.wire import topics

PART = 200
"""Filters in one packet, so that it fits any broker's largest."""

Filters = list[list[str]]
"""In parts of at most :data:`PART`."""


class Listening:
    """What is subscribed to, in this session of the broker."""

    def __init__(self) -> None:
        """Listen to all."""
        self._filters = frozenset({topics.any_up()})

    def present(self) -> Filters:
        """Return what to subscribe to in a session that may be a new one."""
        return list(_parts(self._filters))

    def absent(self) -> Filters:
        """Return what an older session may still be subscribed to beside it."""
        return list(_parts({topics.any_up()} - self._filters))

    def change(self, devices: Collection[str] | None) -> tuple[Filters, Filters]:
        """Listen to these devices only (``None``: all).

        Returns:
            What to subscribe to, and then what to unsubscribe from.
        """
        before = self._filters
        self._filters = frozenset(
            {topics.any_up()}
            if devices is None
            else {topics.any_up_of(device) for device in devices}
        )
        new, old = self._filters - before, before - self._filters
        return list(_parts(new)), list(_parts(old))


def _parts(names: Collection[str]) -> Iterator[list[str]]:
    ordered = sorted(names)
    for start in range(0, len(ordered), PART):
        yield ordered[start : start + PART]
