"""HTTP/1.1 requests out of bytes, and responses into them. Pure and strict.

What two readers could take for two things is refused: folded lines, bare line feeds,
spaces before a colon, fields that may come once and come twice, a transfer coding.
After a refusal nobody knows where the next request begins, so the connection ends.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

from edge_agent.serve.oip.refusal import RefusedError

MAX_HEAD_BYTES = 16 << 10
MAX_FIELDS = 64
END = b"\r\n\r\n"

_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
_LINE = re.compile(rb"([A-Z]{1,16}) (/[\x21-\x7e]{0,1023}) HTTP/1\.([01])")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)")
_LENGTH = re.compile(r"[0-9]{1,15}")
_ONCE = frozenset(
    (
        "authorization",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "inference-header-content-length",
        "origin",
        "transfer-encoding",
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A request without its body. Names of ``fields`` are in lower case."""

    method: str
    target: str
    fields: dict[str, str]
    keep_alive: bool
    body_bytes: int
    expects_continue: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What is answered."""

    status: HTTPStatus = HTTPStatus.OK
    body: bytes = b""
    content_type: str = "application/json"
    fields: Sequence[tuple[str, str]] = ()


def parse_head(head: bytes) -> Head:
    """Read request line and fields, without the empty line that ends them.

    Raises:
        RefusedError: They are not valid, or ask for what is not offered.
    """
    line, *lines = head.split(b"\r\n")
    method, target, minor = _parse_line(line)
    if len(lines) > MAX_FIELDS:
        raise too_large(f"{len(lines)} header fields, {MAX_FIELDS} are possible")
    fields = _parse_fields(lines)
    if minor == b"1" and "host" not in fields:
        raise _malformed("there is no field Host")
    tokens = fields.get("connection", "").lower().replace(" ", "").split(",")
    keep_alive = "close" not in tokens and (minor == b"1" or "keep-alive" in tokens)
    return Head(
        method=method,
        target=target,
        fields=fields,
        keep_alive=keep_alive,
        body_bytes=_body_bytes(fields),
        expects_continue=_expectation(fields),
    )


def render(response: Response, *, keep_alive: bool, with_body: bool = True) -> bytes:
    """Return a response's bytes; the answer to ``HEAD`` is one without its body."""
    status = response.status
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Content-Type: {response.content_type}",
        f"Content-Length: {len(response.body)}",
        *(f"{name}: {value}" for name, value in response.fields),
    ]
    if not keep_alive:
        lines.append("Connection: close")
    head = "\r\n".join(lines).encode("latin-1") + END
    return head + response.body if with_body else head


def too_large(text: str) -> RefusedError:
    """Return the refusal of a head beyond its limits."""
    return RefusedError(
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "AGENT-HTTP-002", text
    )


def _parse_line(line: bytes) -> tuple[str, str, bytes]:
    match = _LINE.fullmatch(line)
    if match is not None:
        return match[1].decode(), match[2].decode(), match[3]
    version = line.rpartition(b" ")[2]
    if _VERSION.fullmatch(version) and not version.startswith(b"HTTP/1."):
        raise RefusedError(
            HTTPStatus.HTTP_VERSION_NOT_SUPPORTED,
            "AGENT-HTTP-003",
            "only HTTP/1.1 and HTTP/1.0 are spoken here",
        )
    raise _malformed("the first line is not METHOD /PATH HTTP/1.1")


def _parse_fields(lines: list[bytes]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is None:
            raise _malformed("a header field is not NAME: VALUE")
        name = match[1].decode().lower()
        value = match[2].decode("latin-1").rstrip(" \t")
        if name in fields:
            if name in _ONCE:
                raise _malformed(f"the field {name} comes twice")
            value = f"{fields[name]}, {value}"
        fields[name] = value
    return fields


def _body_bytes(fields: dict[str, str]) -> int:
    length = fields.get("content-length")
    if "transfer-encoding" in fields:
        raise RefusedError(
            HTTPStatus.LENGTH_REQUIRED,
            "AGENT-HTTP-005",
            "a body needs a Content-Length; transfer codings are not taken",
        )
    if length is None:
        return 0
    if not _LENGTH.fullmatch(length):
        raise _malformed("Content-Length is not a number")
    return int(length)


def _expectation(fields: dict[str, str]) -> bool:
    expected = fields.get("expect", "").lower()
    if expected not in {"", "100-continue"}:
        raise RefusedError(
            HTTPStatus.EXPECTATION_FAILED,
            "AGENT-HTTP-009",
            "nothing but 100-continue can be expected",
        )
    return bool(expected)


def _malformed(text: str) -> RefusedError:
    return RefusedError(HTTPStatus.BAD_REQUEST, "AGENT-HTTP-001", text)
