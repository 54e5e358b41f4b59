"""Envelopes: a signature is good for one payload and one purpose."""

import hashlib

import pytest

from edge_agent.wire.envelope import Envelope, Purpose, is_authentic, seal

KEY = "ab" * 32


def sign(data: bytes) -> tuple[str, str]:
    """Return a digest that depends on a secret, as a signature does."""
    return KEY, hashlib.sha256(b"secret" + data).hexdigest()


def verify(keyid: str, data: bytes, sig: str) -> bool:
    """Check what :func:`sign` made."""
    return keyid == KEY and sign(data)[1] == sig


def test_a_sealed_payload_is_authentic() -> None:
    """What was signed for a purpose is accepted for it."""
    envelope = seal(Purpose.ASSIGNMENT, b'{"seq":1}', sign)

    assert is_authentic(Purpose.ASSIGNMENT, envelope, verify)


def test_a_signature_is_worth_nothing_for_another_purpose() -> None:
    """An assignment cannot be replayed as a command."""
    envelope = seal(Purpose.ASSIGNMENT, b'{"seq":1}', sign)

    assert not is_authentic(Purpose.COMMAND, envelope, verify)


@pytest.mark.parametrize(
    "changes",
    [{"payload": '{"seq":2}'}, {"keyid": "cd" * 32}, {"sig": "00" * 32}],
    ids=["payload", "key", "signature"],
)
def test_any_change_is_noticed(changes: dict[str, str]) -> None:
    """Payload, key id and signature are bound to each other."""
    true = seal(Purpose.COMMAND, b'{"seq":1}', sign)
    parts = {"payload": true.payload, "keyid": true.keyid, "sig": true.sig}

    assert not is_authentic(Purpose.COMMAND, Envelope(**{**parts, **changes}), verify)
