"""TLS contexts with extra CAs."""

import ssl
from pathlib import Path


def context(ca_file: str | Path = "") -> ssl.SSLContext:
    """A context trusting the system's CAs and a PEM bundle; OSError if it is invalid."""
    tls_context = ssl.create_default_context()
    if ca_file:
        tls_context.load_verify_locations(ca_file)
    return tls_context
