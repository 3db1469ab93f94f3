"""Header names as the client spelled them, and which of these headers go on to the provider."""

from multidict import istr

from services.gateway.request import hop_headers
from shared.accounts_admin import TOKEN_PREFIX

CREDENTIALS = frozenset({"authorization", "x-api-key", "x-goog-api-key", "api-key"})  # the last is Azure's
_MOST_NAMES = 1024
_LONGEST_NAME = 64


class HeaderNames(dict[bytes, tuple[istr, str, bool]]):
    """Table of header names: raw bytes to (name, name in lower case, whether such headers are forwarded).

    aiohttp replaces known names by its own spelling, so names are read from the raw bytes. An istr knows its lower
    case, which makes it cheaper as a key of a header dict than a new str for each header.
    """

    def __missing__(self, raw: bytes) -> tuple[istr, str, bool]:
        name = raw.decode("utf-8", "surrogateescape")
        lower = name.lower()
        found = (istr(name), lower, _is_forwarded(lower))
        if len(raw) <= _LONGEST_NAME:
            if len(self) >= _MOST_NAMES:
                self.clear()
            self[raw] = found
        return found


NAMES = HeaderNames()


def _is_forwarded(lower: str) -> bool:
    """Whether headers of this name go on to the provider. CGI and WSGI servers take an underscore for a hyphen."""
    read = lower.replace("_", "-")
    if read in CREDENTIALS or read.startswith("x-metrion-") or TOKEN_PREFIX in lower:
        return False
    return not hop_headers.is_kept_from_provider(read)
