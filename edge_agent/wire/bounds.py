"""Bounds on what records mean, beyond the types of their fields. Pure.

Types say that a mean is a number; only here is it said that a window's lists belong
together and that its figures can be added up. Checked where bytes of others become
records (:mod:`edge_agent.wire.batch`), not where a device makes its own.
"""

import math

from edge_agent.wire.profile import ChannelMoments, ProfileData
from edge_agent.wire.records import AnyRecord, ProfileRecord, SampleRecord

MAX_VALUE = 1e100
"""Largest mean, minimum or maximum: what a float32 holds is 1e38. Sums of millions of
these, weighted with any count, are still far from the end of a float64."""
MAX_M2 = 1e250
_FLOAT32_BYTES = 4


def fault_of(record: AnyRecord) -> str:
    """Return what is wrong with the meaning of a record, or nothing."""
    if isinstance(record, ProfileRecord):
        return profile_fault(record.profile)
    if isinstance(record, SampleRecord):
        return _sample_fault(record)
    return ""


def profile_fault(data: ProfileData) -> str:
    """Return what is wrong with the figures of a window, or nothing."""
    # Fewer have always been readable; who needs one a channel asks for it.
    if len(data.moments) > len(data.counts):
        return f"{len(data.moments)} moments for {len(data.counts)} channels"
    for place, counts in enumerate(data.counts):
        if sum(counts) > data.rows:
            return f"channel {place} counts more than {data.rows} rows"
    for place, moments in enumerate(data.moments):
        if fault := _moments_fault(moments, data.rows):
            return f"channel {place}: {fault}"
    return ""


def _moments_fault(moments: ChannelMoments, rows: int) -> str:
    # Comparisons with a NaN are false: "not (a <= b)" refuses it, "a > b" would not.
    if moments.n > rows:
        return f"moments of {moments.n} in a window of {rows} rows"
    if not 0 <= moments.m2 <= MAX_M2:
        return "its sum of squares is negative or beyond all measure"
    if not all(
        abs(value) <= MAX_VALUE for value in (moments.mean, moments.low, moments.high)
    ):
        return "its mean, minimum or maximum is beyond all measure"
    return ""


def _sample_fault(record: SampleRecord) -> str:
    # In Python's integers: a product of 64 bits wraps.
    size = math.prod(record.shape) * _FLOAT32_BYTES
    if size != len(record.data):
        return f"shape {record.shape} does not have {len(record.data)} bytes"
    return ""
