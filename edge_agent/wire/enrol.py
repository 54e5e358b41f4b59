"""Enrolment over HTTP: ``POST /enroll`` and ``POST /renew``; the file to join with."""

from typing import Annotated

from msgspec import Meta

from edge_agent.wire.types import DeviceId, Message, Text, prepare

MAX_BODY_BYTES = 16 << 10
JOIN_FORMAT = 1
RENEW_PURPOSE = "shoal-renew-v1"
"""Precedes the signing request, with a line feed, in what a renewal signs."""

Pem = Annotated[str, Meta(min_length=1, max_length=8192)]
Secret = Annotated[str, Meta(min_length=1, max_length=256)]
Root = Annotated[str, Meta(min_length=2, max_length=256 << 10)]
Host = Annotated[str, Meta(min_length=1, max_length=253)]
Port = Annotated[int, Meta(ge=1, le=65535)]
Url = Annotated[str, Meta(max_length=2048)]
Signature = Annotated[str, Meta(pattern=r"^[0-9a-f]{1,256}\Z")]


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


class JoinFile(Message, frozen=True, kw_only=True):
    """All that a device needs to join a fleet, in one file.

    ``hub devices join-file`` writes it, ``edge-agent join`` takes it. It holds the root
    that the device will trust and a token that buys its certificate, so it must travel
    over a way that nobody else can read or change. Without a token there is nothing to
    enrol for: the broker is on loopback, or speaks plaintext.
    """

    format: Annotated[int, Meta(ge=1, le=JOIN_FORMAT)] = JOIN_FORMAT
    device: DeviceId
    root: Root
    broker_host: Host
    broker_port: Port
    broker_tls: bool = False
    allow_plaintext: bool = False
    hub: Url = ""
    token: Annotated[str, Meta(max_length=256)] = ""
    ca: Annotated[str, Meta(max_length=8192)] = ""


prepare(EnrolRequest, RenewRequest, EnrolReply, EnrolRefusal, JoinFile)
