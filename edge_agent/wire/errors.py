"""What a decoder says of bytes that are not what they claim to be."""

import msgspec

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""All that msgspec raises of bytes: no JSON or no such message, no UTF-8, too deep."""


class WireError(ValueError):
    """Bytes that are not a valid message.

    Attributes:
        code: Stable code, such as ``WIRE-BATCH-003``.
    """

    def __init__(self, code: str, text: str) -> None:
        """Create the error with its stable code and a text for people."""
        super().__init__(f"{code}: {text}")
        self.code = code
