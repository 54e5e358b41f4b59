"""How far a reader of a file is: what it tells whoever wants to show it."""

from collections.abc import Callable

OnRead = Callable[[int, int], None]
"""Told how many bytes of how many were read."""


def ignore(_done: int, _total: int) -> None:
    """Show nothing."""
