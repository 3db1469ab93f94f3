"""Classes of response headers: forwarded, removed, or holding a URL."""

from collections.abc import Iterable

from aiohttp import hdrs
from multidict import MultiMapping

from services.gateway.request import hop_headers
from services.gateway.upstream import rewrite_urls

_MAX_NAMES = 1024
_MAX_NAME_LENGTH = 64
_FORWARDED, _REMOVED, _URL = range(3)

_known: dict[str, int] = {}  # by name as it was spelled


def sort(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """(Names of headers to remove, names of headers that hold a URL to follow)."""
    removed: list[str] = []
    urls: list[str] = []
    for name in names:
        treatment = _known.get(name)
        if treatment is None:
            treatment = _remember(name)
        if treatment == _REMOVED:
            removed.append(name)
        elif treatment == _URL:
            urls.append(name)
    return removed, urls


def content_encoding(headers: MultiMapping[str]) -> str:
    """The whole Content-Encoding of a response, in the order in which it was applied."""
    return ", ".join(headers.getall(hdrs.CONTENT_ENCODING)) if hdrs.CONTENT_ENCODING in headers else ""


def _remember(name: str) -> int:
    treatment = _FORWARDED
    if hop_headers.is_kept_from_client(name):
        treatment = _REMOVED
    elif rewrite_urls.names_url(name):
        treatment = _URL
    if len(name) <= _MAX_NAME_LENGTH:
        if len(_known) >= _MAX_NAMES:
            _known.clear()
        _known[name] = treatment
    return treatment
