"""The private keys of a home in one file, behind a passphrase.

A line of JSON with the parameters, then AES-256-GCM over the files as JSON, with a key
that scrypt (RFC 7914) derives from the passphrase. The first line is authenticated too,
so neither parameters nor the backup that the keys belong to can be exchanged.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from msgspec import Meta

from edge_agent.wire.types import Message
from hub.errors import DeniedError, RefusedError

MAX_BYTES = 16 << 20
LOG_N = 17
"""scrypt's cost: 2^17 rounds over 128 MiB, half a second."""
_KEY_BYTES = 32
_SALT_BYTES = 16
_NONCE_BYTES = 12
_KEY_PLACES = r"^((offline-)?keys/[A-Za-z0-9_][A-Za-z0-9._-]{0,127}|hub\.toml)\Z"

_Place = Annotated[str, Meta(pattern=_KEY_PLACES)]
_Salt = Annotated[bytes, Meta(min_length=_SALT_BYTES, max_length=_SALT_BYTES)]
_Nonce = Annotated[bytes, Meta(min_length=_NONCE_BYTES, max_length=_NONCE_BYTES)]


class _Header(Message, frozen=True, kw_only=True):
    """The first line."""

    format: Literal["shoal-hub-keys-1"] = "shoal-hub-keys-1"
    backup: Annotated[str, Meta(pattern=r"^[0-9a-f]{16}\Z")]
    kdf: Literal["scrypt"] = "scrypt"
    log_n: Annotated[int, Meta(ge=14, le=20)]
    r: Literal[8] = 8
    p: Literal[1] = 1
    cipher: Literal["AES-256-GCM"] = "AES-256-GCM"
    salt: _Salt
    nonce: _Nonce


def seal(files: Mapping[str, bytes], passphrase: bytes, backup: str) -> bytes:
    """Return the keys of a backup, encrypted.

    Args:
        files: Content by path in the home.
        passphrase: Opens them.
        backup: The id of the backup.
    """
    header = _Header(
        backup=backup,
        log_n=LOG_N,
        salt=os.urandom(_SALT_BYTES),
        nonce=os.urandom(_NONCE_BYTES),
    )
    line = msgspec.json.encode(header)
    plain = msgspec.json.encode(dict(files))
    return line + b"\n" + _cipher(header, passphrase).encrypt(header.nonce, plain, line)


def unseal(path: Path, passphrases: Iterable[bytes], backup: str) -> dict[str, bytes]:
    """Return the keys of a backup: content by path in the home.

    Raises:
        RefusedError: The file cannot be read, is damaged or another backup's
            (``HUB-BACKUP-004``).
        DeniedError: No passphrase opens it (``HUB-BACKUP-005``).
    """
    line, sealed, header = _read(path)
    if header.backup != backup:
        raise _refuse(path, f"it belongs to backup {header.backup}, not to {backup}")
    for passphrase in passphrases:
        try:
            plain = _cipher(header, passphrase).decrypt(header.nonce, sealed, line)
        except InvalidTag:
            continue
        try:
            return msgspec.json.decode(plain, type=dict[_Place, bytes])
        except msgspec.MsgspecError as error:
            raise _refuse(path, str(error)) from error
    raise DeniedError(
        "HUB-BACKUP-005",
        f"{path} opens with no passphrase that was given",
        cure="give it at a terminal, or with --passphrase-file FILE; if it is the"
        " right one, the file is damaged: take another copy",
    )


def _read(path: Path) -> tuple[bytes, bytes, _Header]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        line, found, sealed = data.partition(b"\n")
        header = msgspec.json.decode(line, type=_Header)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _refuse(path, str(error)) from error
    if not found or len(data) > MAX_BYTES:
        raise _refuse(path, "it is cut off, or too large")
    return line, sealed, header


def _refuse(path: Path, why: str) -> RefusedError:
    return RefusedError(
        "HUB-BACKUP-004",
        f"{path} is not the file with this backup's keys: {why}",
        cure="name the one that was written with it: --keys FILE",
    )


def _cipher(header: _Header, passphrase: bytes) -> AESGCM:
    derive = Scrypt(
        salt=header.salt, length=_KEY_BYTES, n=1 << header.log_n, r=header.r, p=header.p
    )
    return AESGCM(derive.derive(passphrase))
