"""The ``openssl`` program: keys, requests and certificates without a library."""

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

from edge_agent.errors import EnrolError

OPENSSL_S = 30.0
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What a certificate says: whose it is, and from when to when (Unix times)."""

    name: str
    begins_at: float
    ends_at: float


def run_openssl(*words: str, given: bytes = b"") -> bytes:
    """Run ``openssl`` and return what it prints.

    Raises:
        EnrolError: It is not installed (``AGENT-ENROL-003``), or fails
            (``AGENT-ENROL-004``).
    """
    try:
        done = subprocess.run(
            ["openssl", *words],  # noqa: S607 - where it is differs between systems
            input=given,
            capture_output=True,
            timeout=OPENSSL_S,
            check=True,
        )
    except FileNotFoundError as error:
        raise EnrolError(
            "AGENT-ENROL-003",
            "the program openssl, which makes the key, is not installed",
            cure="install the system's package: apt-get install openssl",
        ) from error
    except (subprocess.SubprocessError, OSError) as error:
        raise EnrolError(
            "AGENT-ENROL-004", f"openssl {words[0]} failed: {error}"
        ) from error
    return done.stdout


def certificate_of(pem: str) -> str:
    """Return the certificate alone, out of a file that may hold its key too."""
    start = pem.index(_BEGIN)
    return pem[start : pem.index(_END, start) + len(_END)] + "\n"


def read_certificate(path: Path) -> Certificate:
    """Read whose certificate a file holds, and when it is valid.

    Raises:
        EnrolError: There is none (``AGENT-ENROL-005``).
    """
    try:
        pem = certificate_of(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise EnrolError(
            "AGENT-ENROL-005",
            f"there is no certificate in {path}: {error}",
            cure="enrol with a token: hub devices enroll-token DEVICE",
        ) from error
    wanted = ("-noout", "-subject", "-startdate", "-enddate", "-nameopt", "RFC2253")
    text = run_openssl("x509", *wanted, given=pem.encode()).decode()
    facts = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return Certificate(
        name=facts["subject"].rpartition("CN=")[2].partition(",")[0],
        begins_at=float(ssl.cert_time_to_seconds(facts["notBefore"])),
        ends_at=float(ssl.cert_time_to_seconds(facts["notAfter"])),
    )
