"""Exit codes of all three programs, and the base of their errors."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What a command line exits with."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    AUTH = 4
    CONFLICT = 5
    TIMEOUT = 6
    REFUSED = 7
    UNREACHABLE = 8
    INTERRUPTED = 130


class ShoalError(Exception):
    """Base of every error that Shoal raises on purpose.

    Each package has its own base below this one. Codes are never reused.

    Attributes:
        code: Stable code, such as ``AGENT-STORE-001``.
        cure: What the reader can do about it ("" where nothing can be said).
        retryable: Whether the same call may succeed later.
        exit_code: What a command line exits with.
    """

    exit_code = ExitCode.FAILED

    def __init__(
        self, code: str, text: str, *, cure: str = "", retryable: bool = False
    ) -> None:
        """Create an error from its code, text and cure."""
        super().__init__(text)
        self.code = code
        self.text = text
        self.cure = cure
        self.retryable = retryable

    def __str__(self) -> str:
        """Return code, text and cure as people should read them."""
        # Indented, so that a text that quotes several lines forges no line of ours.
        parts = [f"{self.code}: {self.text}", self.cure]
        return "\n".join(filter(None, parts)).replace("\n", "\n  ")
