"""What a person writes where only a host name belongs, told as what it is."""


def require_host(host: str, section: str) -> None:
    """Refuse what is no host name or address.

    Args:
        host: The setting ``host`` as it was written.
        section: Where it stands, such as ``broker``.

    Raises:
        ValueError: It holds a port, a scheme, spaces, or nothing; the text tells
            the cure.
    """
    name = f"{section}.host" if section else "host"
    bare = host.strip()
    if not bare:
        raise ValueError(f"{name} is empty; write a host name or an address")
    if "://" in bare:
        rest = bare.split("://", 1)[1].split("/")[0]
        raise ValueError(
            f"{name} = {host!r} is a URL; write the host alone, {_split(rest)}"
        )
    if bare != host or any(letter.isspace() for letter in bare):
        raise ValueError(f"{name} = {host!r} has spaces; write the host alone")
    if bare.startswith("[") or bare.count(":") == 1:
        raise ValueError(
            f"{name} = {host!r} has a port or brackets; write {_split(bare)}"
        )
    if not bare.isprintable() or "/" in bare or "@" in bare:
        raise ValueError(f"{name} = {host!r} is no host name or address")


def _split(text: str) -> str:
    """Return how host and port of ``text`` are written."""
    text = text.rpartition("@")[2]
    host, port = text, ""
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port.lstrip(":")
    elif text.count(":") == 1:
        host, port = text.split(":")
    return f'host = "{host}"' + (f" and port = {port}" if port.isdecimal() else "")
