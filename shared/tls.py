"""A file of certificate authorities goes in, a TLS context that trusts them beside the usual ones comes out."""

import ssl
from pathlib import Path


def context(ca_file: str | Path = "") -> ssl.SSLContext:
    """The usual authorities, and those of a PEM file with them; OSError (an SSLError too) for a bad file."""
    trusting = ssl.create_default_context()
    if ca_file:
        trusting.load_verify_locations(ca_file)
    return trusting
