"""``POST /enroll`` and ``POST /renew``: a device's way to its certificate.

Everybody may ask, so a request is small, bounded before it is read, checked before
anything is computed, and there are only so many a second.
"""

import threading
from collections.abc import Callable
from typing import TypeVar

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool

from edge_agent.base.clock import Clock
from edge_agent.wire.enrol import (
    MAX_BODY_BYTES,
    EnrolRefusal,
    EnrolReply,
    EnrolRequest,
    RenewRequest,
)
from edge_agent.wire.errors import UNREADABLE
from hub.errors import DeniedError, HubError, RefusedError
from hub.identity.service import IdentityService

_T = TypeVar("_T", bound=msgspec.Struct)

RATE_PER_S = 5.0
BURST = 20.0

_BAD, _DENIED, _TOO_LARGE, _TOO_MANY, _FAILED = 400, 403, 413, 429, 500


class Rate:
    """A bucket of leaves: ``burst`` at once, ``per_s`` in the long run."""

    def __init__(self, clock: Clock, per_s: float, burst: float) -> None:
        """Begin with a full bucket."""
        self._clock, self._per_s, self._burst = clock, per_s, burst
        self._left, self._at = burst, clock.mono()
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Take one leave, if there is one."""
        with self._lock:
            now = self._clock.mono()
            self._left = min(self._burst, self._left + (now - self._at) * self._per_s)
            self._at = now
            if self._left < 1:
                return False
            self._left -= 1
            return True


def add_enrolment(app: FastAPI, identity: IdentityService, clock: Clock) -> None:
    """Add both endpoints to the application."""
    rate = Rate(clock, RATE_PER_S, BURST)

    @app.post("/enroll")
    async def enroll(request: Request) -> Response:
        """Give a certificate for a one-time token."""
        return await _answer(
            request, rate, lambda body: identity.enrol(_decode(body, EnrolRequest))
        )

    @app.post("/renew")
    async def renew(request: Request) -> Response:
        """Give a certificate for a valid one."""
        return await _answer(
            request, rate, lambda body: identity.renew(_decode(body, RenewRequest))
        )


async def _answer(
    request: Request, rate: Rate, work: Callable[[bytes], EnrolReply]
) -> Response:
    if not rate.take():
        refusal = EnrolRefusal(
            code="HUB-ENROL-010", text="too many requests", cure="try again later"
        )
        return _json(refusal, _TOO_MANY, {"Retry-After": "1"})
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            refusal = EnrolRefusal(
                code="HUB-ENROL-011",
                text=f"the request is larger than {MAX_BODY_BYTES} bytes",
            )
            return _json(refusal, _TOO_LARGE, {"Connection": "close"})
    try:
        return _json(await run_in_threadpool(work, body), 200)
    except HubError as error:
        refusal = EnrolRefusal(code=error.code, text=error.text, cure=error.cure)
        return _json(refusal, _status(error))


def _decode(body: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=kind)
    except UNREADABLE as error:
        raise RefusedError("HUB-ENROL-012", f"not a valid request: {error}") from error


def _status(error: HubError) -> int:
    if isinstance(error, DeniedError):
        return _DENIED
    return _BAD if isinstance(error, RefusedError) else _FAILED


def _json(
    value: EnrolReply | EnrolRefusal, status: int, headers: dict[str, str] | None = None
) -> Response:
    return Response(
        msgspec.json.encode(value), status, headers, media_type="application/json"
    )
