"""Whether an address is this machine: plaintext goes no further without leave."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address means this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
