"""SHA-256 of what a process holds in memory, if it can be without OpenSSL.

``hashlib`` loads libcrypto, 3.5 MiB resident in a worker that needs nothing else of
it. Python has an implementation of its own, which ``hashlib`` falls back to and
``random`` takes for the same reason. It is eight times slower (105 MiB/s), so large
files go to ``hashlib``: beside them libcrypto is small.
"""

try:
    from _sha2 import sha256  # since Python 3.12
except ModuleNotFoundError:
    try:
        from _sha256 import sha256
    except ModuleNotFoundError:
        from hashlib import sha256

LARGE_BYTES = 4 << 20


def sha256_hex(data: bytes) -> str:
    """Return the digest in hexadecimal."""
    if len(data) < LARGE_BYTES:
        return str(sha256(data).hexdigest())
    import hashlib

    return hashlib.sha256(data).hexdigest()
