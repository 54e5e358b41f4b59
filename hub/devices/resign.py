"""Desired state under the present key: what another key signed is signed again.

Devices believe the keys of the ``timestamp`` role in their newest root. After that key
was replaced, everything that is still to be believed has to be under the new one: with
the very content that it had, so that no rollout notices. Called by
:mod:`hub.devices.service` whenever the metadata has changed.
"""

from typing import Protocol

from sqlalchemy import Connection

from edge_agent.wire import codec
from edge_agent.wire.envelope import Envelope, Purpose, seal
from hub.storage import devices as store


class EnvelopeSigner(Protocol):
    """Signs what is sent to devices."""

    def keyid(self) -> str:
        """Return the id of the key that signs now."""
        ...

    def sign(self, data: bytes) -> tuple[str, str]:
        """Sign bytes; return key id and signature in hex."""
        ...


def is_current(envelope: str, keyid: str) -> bool:
    """Tell whether a stored envelope (empty: withdrawn) is under this key."""
    return not envelope or codec.decode(envelope.encode(), Envelope).keyid == keyid


def resign(conn: Connection, signer: EnvelopeSigner, now: float) -> int:
    """Sign again what another key signed; it counts as unpublished then.

    Args:
        conn: Of a transaction.
        signer: Signs with the present key.
        now: Wall time; commands that have expired are left alone.

    Returns:
        How many assignments and commands that was.
    """
    keyid = signer.keyid()
    assignments = store.assignments_not_by(conn, keyid)
    for row in assignments:
        text = _again(Purpose.ASSIGNMENT, row.envelope, signer)
        store.replace_assignment_envelope(conn, row.device, row.seq, text)
    commands = store.commands_not_by(conn, keyid, now)
    for command in commands:
        text = _again(Purpose.COMMAND, command.envelope, signer)
        store.replace_command_envelope(conn, command.id, text)
    return len(assignments) + len(commands)


def _again(purpose: Purpose, envelope: str, signer: EnvelopeSigner) -> str:
    payload = codec.decode(envelope.encode(), Envelope).payload
    return codec.encode(seal(purpose, payload.encode(), signer.sign)).decode()
