"""Fields of ours in signed TUF metadata, which other clients ignore.

``timestamp`` says when the hub signed it, the floor under every device's clock;
``targets``, signed offline, may say the lowest release that devices install. Whole
numbers, because signed metadata is canonical JSON, which has no fractions.
"""

from collections.abc import Mapping
from typing import Any

SIGNED_AT = "x-shoal-signed-at"
"""In ``timestamp``: seconds since 1970-01-01 UTC."""
MIN_RELEASE = "x-shoal-min-release"
"""In ``targets``: no release below this number is installed."""

_MAX_AT = 10**11
_MAX_RELEASE = 2**31


def read_signed_at(fields: Mapping[str, Any]) -> float:
    """Return when a timestamp was signed; 0 if it does not say (a foreign hub's)."""
    return float(_whole(fields.get(SIGNED_AT), _MAX_AT))


def read_min_release(fields: Mapping[str, Any]) -> int:
    """Return the lowest release that may be installed (0: any)."""
    return _whole(fields.get(MIN_RELEASE), _MAX_RELEASE)


def _whole(value: object, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        return 0
    return value if 0 <= value <= most else 0
