"""The randomness port, and the kernel's randomness.

``random`` is 0.4 MiB of every process that imports it; :class:`random.Random` fits the
port, so tests hand over a seeded one.
"""

import math
import os
from collections.abc import Sequence
from typing import Protocol, TypeVar

_T = TypeVar("_T")
_BITS = 53


class Randomness(Protocol):
    """Random waits and choices."""

    def expovariate(self, lambd: float, /) -> float:
        """Return an exponentially distributed number of mean ``1 / lambd``."""
        ...

    def choice(self, seq: Sequence[_T], /) -> _T:
        """Return one of several, each as likely."""
        ...


class KernelRandom:
    """What nobody can foresee; a system call each."""

    def expovariate(self, lambd: float, /) -> float:
        """Return an exponentially distributed number of mean ``1 / lambd``."""
        return -math.log(1.0 - self._unit()) / lambd

    def choice(self, seq: Sequence[_T], /) -> _T:
        """Return one of several, each as likely."""
        return seq[int(self._unit() * len(seq))]

    def _unit(self) -> float:
        return float(int.from_bytes(os.urandom(7), "big") >> 3) / 2.0**_BITS
