"""Plain e-mail addresses, in ASCII and without quotes or comments."""

import re

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,64}"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})"
_ADDRESS = re.compile(rf"(?=.{{3,254}}\Z){_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*")


def is_valid(text: str) -> bool:
    """Whether a text is an address that can stand in a header without quoting."""
    return _ADDRESS.fullmatch(text) is not None
