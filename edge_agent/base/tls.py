"""TLS on the client's side: one strict context for device and hub."""

import ssl


def client_context(ca: str, cert: str = "", key: str = "") -> ssl.SSLContext:
    """Return a context that trusts ``ca`` alone and checks host names.

    Args:
        ca: File with the authority that signed the server's certificate.
        cert: File with the own certificate; empty: none is shown.
        key: File with its key; empty: it is in ``cert`` too.

    Raises:
        OSError: A file is missing, no certificate, or key and certificate differ.
    """
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if cert:
        context.load_cert_chain(cert, key or None)
    return context
