"""Header names as the client spelled them, and which of these headers go on to the provider."""

from collections.abc import Iterable

from multidict import istr

from services.gateway.request import hop_headers
from shared.accounts_admin import TOKEN_PREFIX

CREDENTIALS = frozenset({"authorization", "x-api-key", "x-goog-api-key", "api-key"})  # the last is Azure's
_MOST_NAMES = 1024
_LONGEST_NAME = 64

# (name, name in lower case, whether such headers are forwarded). An istr knows its lower case, which makes it a cheaper
# key of a header dict than a new str for each header.
HeaderName = tuple[istr, str, bool]


_known: dict[bytes, HeaderName] = {}


def split(raw: Iterable[tuple[bytes, bytes]]) -> list[HeaderName]:
    """The names of a request's headers, in order. `raw`: the headers as bytes, as aiohttp keeps them.

    aiohttp replaces known names by its own spelling, so names are read from the raw bytes.
    """
    try:
        return [_known[name] for name, _ in raw]
    except KeyError:
        return [_known.get(name) or _learn(name) for name, _ in raw]


def _learn(raw: bytes) -> HeaderName:
    name = raw.decode("utf-8", "surrogateescape")
    lower = name.lower()
    found = (istr(name), lower, _is_forwarded(lower))
    if len(raw) <= _LONGEST_NAME:
        if len(_known) >= _MOST_NAMES:
            _known.clear()
        _known[raw] = found
    return found


def _is_forwarded(lower: str) -> bool:
    """Whether headers of this name go on to the provider. CGI and WSGI servers take an underscore for a hyphen."""
    read = lower.replace("_", "-")
    if read in CREDENTIALS or read.startswith("x-metrion-") or TOKEN_PREFIX in lower:
        return False
    return not hop_headers.is_kept_from_provider(read)
