"""Elements of a JSON array as raw JSON, also of an array that was cut off."""

import re
from collections.abc import Iterator

import msgspec

from services.gateway.parsing import lenient_json

_MOST_ELEMENTS = 100_000  # some 10 ms of work
_MOST_BRACKETS = 20_000  # runs of brackets that are looked at one by one
_array = msgspec.json.Decoder(list[msgspec.Raw])
# All up to the next run of brackets outside of strings.
_BRACKETS = re.compile(rb'(?:[^"\[\]{}]+|"(?:[^"\\]+|\\.)*+")*+([\[{]+|[\]}]+)', re.DOTALL)


def elements(document: bytes) -> list[bytes]:
    """The whole elements in order.

    WorkLimitExceeded when there are so many that reading them would delay other requests.
    """
    if document.count(b"{") > _MOST_ELEMENTS:
        raise lenient_json.WorkLimitExceeded
    try:
        return [bytes(raw) for raw in _array.decode(document)]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return list(_whole_elements(document))


def _whole_elements(document: bytes) -> Iterator[bytes]:
    """The objects and arrays within an array, told by their brackets alone."""
    depth = start = 0
    for seen, match in enumerate(_BRACKETS.finditer(document)):
        if seen > _MOST_BRACKETS:
            raise lenient_json.WorkLimitExceeded
        first, end = match.span(1)
        above = depth
        if document[first] in b"[{":
            depth += end - first
            if above <= 1 < depth:
                start = first + 1 - above
        else:
            depth -= end - first
            if depth <= 1 < above:
                yield document[start : first + above - 1]
