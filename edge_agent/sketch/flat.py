"""Whether a sensor is stuck: one axis of a window says the same number again and again.

A sensor that works has noise; one whose driver hangs, or whose cable is off, repeats
its last value exactly. The same code judges a device's samples and those that an
imported model comes with. NumPy only.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def is_flat(window: NDArray[Any], rows: int) -> bool:
    """Tell whether a column has the same value in ``rows`` rows in a row.

    Args:
        window: Shape ``(n, *row)``; every number of a row is a column.
        rows: Two or more.
    """
    columns = window.reshape(len(window), -1)
    steps = rows - 1
    same = columns[1:] == columns[:-1]
    # A run of so many steps holds one of every so many places: mostly that is all.
    if not same[steps - 1 :: steps].any():
        return False
    counts = np.zeros((len(same) + 1, same.shape[1]), np.int64)
    np.cumsum(same, axis=0, out=counts[1:])
    return bool((counts[steps:] - counts[:-steps] == steps).any())
