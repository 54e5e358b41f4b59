"""What a decoder says of bytes that are not what they claim to be."""


class WireError(ValueError):
    """Bytes that are not a valid message.

    Attributes:
        code: Stable code, such as ``WIRE-BATCH-003``.
    """

    def __init__(self, code: str, text: str) -> None:
        """Create the error with its stable code and a text for people."""
        super().__init__(f"{code}: {text}")
        self.code = code
