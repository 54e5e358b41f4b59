"""Digests are SHA-256, whoever computes them."""

import hashlib
import subprocess
import sys

import pytest

from edge_agent.base.digest import LARGE_BYTES, sha256_hex


@pytest.mark.parametrize("size", [0, 1, 64, LARGE_BYTES - 1, LARGE_BYTES])
def test_small_and_large_data_have_the_same_kind_of_digest(size: int) -> None:
    """Below and above the size where OpenSSL takes over."""
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    assert sha256_hex(data) == hashlib.sha256(data).hexdigest()


def test_small_data_needs_no_hashlib() -> None:
    """Python's own implementation is there, and taken."""
    code = (
        "import sys; from edge_agent.base.digest import sha256_hex; sha256_hex(b'a');"
        "print(*sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert "hashlib" not in run.stdout.split()
