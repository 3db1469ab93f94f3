"""Response headers by what becomes of them: most go to the client as they are."""

from collections.abc import Iterable

from services.gateway.request import hop_headers
from services.gateway.upstream import rewrite_urls

_MOST_NAMES = 1024
_LONGEST_NAME = 64
_FORWARDED, _REMOVED, _URL = range(3)

_known: dict[str, int] = {}  # by name as it came


def sort(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """(Names of headers that end at the gateway, names of headers that hold a URL to be followed)."""
    removed: list[str] = []
    urls: list[str] = []
    for name in names:
        fate = _known.get(name)
        if fate is None:
            fate = _learn(name)
        if fate == _REMOVED:
            removed.append(name)
        elif fate == _URL:
            urls.append(name)
    return removed, urls


def _learn(name: str) -> int:
    fate = _FORWARDED
    if hop_headers.is_kept_from_client(name):
        fate = _REMOVED
    elif rewrite_urls.names_url(name):
        fate = _URL
    if len(name) <= _LONGEST_NAME:
        if len(_known) >= _MOST_NAMES:
            _known.clear()
        _known[name] = fate
    return fate
