"""Enrolment over HTTP: ``POST /enroll`` and ``POST /renew`` of the hub."""

from typing import Annotated

from msgspec import Meta

from edge_agent.wire.types import DeviceId, Message, Text

MAX_BODY_BYTES = 16 << 10
RENEW_PURPOSE = "shoal-renew-v1"
"""Precedes the signing request, with a line feed, in what a renewal signs."""

Pem = Annotated[str, Meta(min_length=1, max_length=8192)]
Secret = Annotated[str, Meta(min_length=1, max_length=256)]
Signature = Annotated[str, Meta(pattern=r"^[0-9a-f]{1,256}$")]


class EnrolRequest(Message, frozen=True, kw_only=True):
    """A device's first request: a one-time token buys a certificate for its key."""

    device: DeviceId
    token: Secret
    csr: Pem


class RenewRequest(Message, frozen=True, kw_only=True):
    """A new certificate for a new key, asked for with the present ones.

    ``signature`` (ECDSA, SHA-256, DER in hex) is by the present key over
    ``shoal-renew-v1``, a line feed and the request.
    """

    certificate: Pem
    csr: Pem
    signature: Signature


class EnrolReply(Message, frozen=True, kw_only=True):
    """The certificate, and the authority that signs the broker's."""

    certificate: Pem
    ca: Pem


class EnrolRefusal(Message, frozen=True, kw_only=True):
    """Why there is no certificate."""

    code: Text
    text: Text
    cure: Text = ""
