"""``POST /enroll`` and ``POST /renew``: a device's way to its certificate.

Everybody may ask, so a request is bounded before it is read and checked before
anything is computed or written, a few at a time. What is refused counts:

* An address (IPv6: a /64) has a budget of failed enrolments. A token that is right
  spends nothing, so a site may enrol hundreds of devices from behind one address; who
  guesses is stopped, and nobody at another address notices.
* A renewal is not counted by address at all: its signature is checked first, and only
  who made it is counted (:mod:`hub.identity.service`).
"""

from collections.abc import Callable
from typing import TypeVar

import msgspec
from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Request, Response
from starlette.requests import ClientDisconnect

from edge_agent.base.clock import Clock
from edge_agent.wire.enrol import (
    MAX_BODY_BYTES,
    EnrolRefusal,
    EnrolReply,
    EnrolRequest,
    RenewRequest,
)
from edge_agent.wire.errors import UNREADABLE
from hub.errors import DeniedError, HubError, RefusedError, TooManyError
from hub.identity.budget import Allowance, Budgets, address_group
from hub.identity.service import IdentityService

_T = TypeVar("_T", bound=msgspec.Struct)

FAILED_PER_S = 20.0
FAILED_BURST = 200.0
"""Failed enrolments of one address. One costs about a millisecond."""
AT_ONCE = 2
"""Requests of each kind that are worked on: the database serves others too."""

_BAD, _DENIED, _TOO_LARGE, _TOO_MANY, _FAILED = 400, 403, 413, 429, 500


def add_enrolment(app: FastAPI, identity: IdentityService, clock: Clock) -> None:
    """Add both endpoints to the application."""
    failures = Budgets(clock, Allowance(burst=FAILED_BURST, per_s=FAILED_PER_S))
    enrolments, renewals = CapacityLimiter(AT_ONCE), CapacityLimiter(AT_ONCE)

    @app.post("/enroll")
    async def enroll(request: Request) -> Response:
        """Give a certificate for a one-time token."""
        address = address_group(request.client.host if request.client else "")
        if not failures.has(address):
            return _refusal(_too_many())
        answer = await _answer(
            request,
            enrolments,
            lambda body: identity.enrol(_decode(body, EnrolRequest)),
        )
        if _BAD <= answer.status_code < _FAILED:
            failures.spend(address)
        return answer

    @app.post("/renew")
    async def renew(request: Request) -> Response:
        """Give a certificate for a valid one."""
        return await _answer(
            request,
            renewals,
            lambda body: identity.renew(_decode(body, RenewRequest)),
        )


async def _answer(
    request: Request,
    limiter: CapacityLimiter,
    work: Callable[[bytes], EnrolReply],
) -> Response:
    body = b""
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                return _refusal(_too_large())
    except ClientDisconnect:  # nobody is there to be answered
        return Response(status_code=_BAD)
    try:
        reply = await to_thread.run_sync(work, body, limiter=limiter)
    except HubError as error:
        return _refusal(error)
    return _json(reply, 200)


def _decode(body: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=kind)
    except UNREADABLE as error:
        raise RefusedError("HUB-ENROL-012", f"not a valid request: {error}") from error


def _too_many() -> HubError:
    return TooManyError(
        "HUB-ENROL-010",
        "too many requests of this address were refused",
        cure="try again later",
    )


def _too_large() -> HubError:
    return RefusedError(
        "HUB-ENROL-011", f"the request is larger than {MAX_BODY_BYTES} bytes"
    )


def _refusal(error: HubError) -> Response:
    refusal = EnrolRefusal(code=error.code, text=error.text, cure=error.cure)
    status, headers = _status(error), {}
    if status == _TOO_MANY:
        headers["Retry-After"] = "1"
    if status in {_TOO_LARGE, _TOO_MANY}:
        headers["Connection"] = "close"  # the rest of the body is not read
    return _json(refusal, status, headers)


def _status(error: HubError) -> int:
    if isinstance(error, TooManyError):
        return _TOO_MANY
    if error.code == "HUB-ENROL-011":
        return _TOO_LARGE
    if isinstance(error, DeniedError):
        return _DENIED
    return _BAD if isinstance(error, RefusedError) else _FAILED


def _json(
    value: EnrolReply | EnrolRefusal, status: int, headers: dict[str, str] | None = None
) -> Response:
    return Response(
        msgspec.json.encode(value), status, headers, media_type="application/json"
    )
