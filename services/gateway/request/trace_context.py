"""The caller's trace context, from the header traceparent (W3C Trace Context).

The header is forwarded unchanged. Nothing here refuses a request: what is invalid is left out.
"""

import re

_MAX_LENGTH = 512
# Version, trace id, parent id, flags; a later version may add more behind another hyphen.
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)


def read(value: str) -> str:
    """The header as version 00 writes it, 55 characters; "" if it is invalid."""
    match = _TRACEPARENT.fullmatch(value.strip()) if len(value) <= _MAX_LENGTH else None
    if match is None:
        return ""
    version, trace, parent, flags, more = match.groups()
    if version == "ff" or (version == "00" and more) or not int(trace, 16) or not int(parent, 16):
        return ""
    return f"00-{trace}-{parent}-{flags}"
