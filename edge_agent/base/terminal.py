r"""Text from outside, shown so that a terminal obeys none of it.

Names, reasons, labels and error texts come from devices, bundles and files. What a
terminal would act on instead of show is written as ``\uXXXX``: control characters
(ANSI and OSC sequences begin with one), bidirectional overrides and isolates, and
other invisible format characters, and halves of surrogate pairs. Inside a JSON
string that is the same text, so ``--json`` means what it meant.

:func:`one_line` is for a value inside a line. All that a program prints goes through
an :class:`EscapingStream` besides, which lets nothing but newlines and tabs by, so a
command that forgets cannot do harm.
"""

import io
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO, cast

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

_OBEYED = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f"
    "\u00ad\u061c\u180e"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e0fff"
)
"""Unicode's categories Cc, Zl, Zp, Cs, and of Cf what has no look of its own; without
newline and tab."""
_ANYWHERE = re.compile(f"[{_OBEYED}]")
_IN_A_LINE = re.compile(f"[\t\n{_OBEYED}]")
_LAST_OF_16_BITS = 0xFFFF


def harmless(text: str) -> str:
    """Return text of several lines with all but newlines and tabs escaped."""
    return _ANYWHERE.sub(_escape, text)


def one_line(value: object) -> str:
    """Return a value's text as one line, newlines and tabs escaped too."""
    return _IN_A_LINE.sub(_escape, str(value))


def _escape(found: re.Match[str]) -> str:
    number = ord(found[0])
    if number <= _LAST_OF_16_BITS:
        return f"\\u{number:04x}"
    high, low = divmod(number - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


class EscapingStream:
    """A text stream that escapes what is written to it; the rest is the stream's.

    Letters that the stream's encoding has not are escaped too: a name must not end a
    command with an ``UnicodeEncodeError``.
    """

    def __init__(self, stream: TextIO) -> None:
        """Write to ``stream``."""
        self.raw = stream
        self.buffer = _EscapingBytes(self)

    def __getattr__(self, name: str) -> object:
        """Return what the stream has under a name."""
        return getattr(self.raw, name)

    def write(self, text: str) -> int:
        """Write text, escaped; return how many letters were given."""
        shown = harmless(text)
        encoding = self.raw.encoding or "utf-8"
        self.raw.write(shown.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each line."""
        for line in lines:
            self.write(line)


class _EscapingBytes(io.RawIOBase):
    """The binary face of the stream: UTF-8 goes the same way as text."""

    def __init__(self, stream: EscapingStream) -> None:
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: "Buffer") -> int:
        given = bytes(data)
        self._stream.write(given.decode("utf-8", "backslashreplace"))
        return len(given)

    def flush(self) -> None:
        self._stream.raw.flush()


def raw_stream(stream: TextIO) -> TextIO:
    """Return the stream below, for bars and tables that draw with terminal codes.

    Who draws there escapes each text by :func:`one_line`.
    """
    below: object = stream
    return below.raw if isinstance(below, EscapingStream) else stream


@contextmanager
def escaped_output() -> Iterator[None]:
    """Let standard output and error escape what is written, until the context ends."""
    before = sys.stdout, sys.stderr
    # A program may have been started with either closed: there is nothing to escape.
    sys.stdout, sys.stderr = (stream and _escaping(stream) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _escaping(stream: TextIO) -> TextIO:
    return cast("TextIO", EscapingStream(raw_stream(stream)))
