"""Header names in the spelling the client sent; aiohttp's parser replaces known names by its own spelling."""

from collections.abc import Iterator

from aiohttp import web
from multidict import istr

_MOST_NAMES = 1024
_LONGEST_NAME = 64
_names: dict[bytes, istr] = {}  # an istr knows its lower case: cheaper than a new str for each header


def as_sent(request: web.BaseRequest) -> Iterator[tuple[str, str]]:
    """(name, value) of each header, in the order and spelling of the client."""
    names = [_names.get(raw) or _spelled(raw) for raw, _ in request.raw_headers]
    return zip(names, request.headers.values(), strict=True)


def _spelled(raw: bytes) -> istr:
    name = istr(raw.decode("utf-8", "surrogateescape"))
    if len(raw) <= _LONGEST_NAME:
        if len(_names) >= _MOST_NAMES:
            _names.clear()
        _names[raw] = name
    return name
