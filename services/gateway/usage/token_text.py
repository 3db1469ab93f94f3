"""Texts of a request and of its stream's events, for counting tokens.

Each dialect says where they are.
"""

from collections.abc import Iterable
from itertools import islice

import msgspec

from services.gateway.dialects import DIALECTS
from services.gateway.dialects.message_text import CALL, NonText
from services.gateway.parsing import lenient_json, sse

_MAX_PIECES = 10_000
_MESSAGES = ("messages", "input", "contents")
_MAX_MARKS = 80_000  # brackets and commas of a body, beyond which reading it would hold up others
_MAX_REPAIRS = 2000  # events that only a lenient reader takes: some 10 ms of work
_any = msgspec.json.Decoder()


def is_counted(dialect: str) -> bool:
    """Whether tokens of this dialect can be counted."""
    return DIALECTS[dialect].overhead is not None


def request_texts(dialect: str, body: bytes) -> tuple[list[str], int]:
    """(texts, number of messages) of a request's body.

    ValueError: NonText, or no JSON object.
    """
    if sum(body.count(mark) for mark in (b"{", b"[", b",")) > _MAX_MARKS:
        raise NonText
    document = lenient_json.decode(body, _any)
    read = DIALECTS[dialect].request_text
    if not isinstance(document, dict) or read is None:
        raise NonText
    pieces = list(islice(read(document), _MAX_PIECES + 1))
    if len(pieces) > _MAX_PIECES:
        raise NonText  # nobody's conversation: it would only hold up others
    lists = (listed for name in _MESSAGES if isinstance(listed := document.get(name), list))
    return [text for text in pieces if text], next(map(len, lists), 1)


def response_texts(dialect: str, events: Iterable[bytes]) -> tuple[list[str], int]:
    """(texts, number of tool calls) of a stream's events, joined by place.

    Events that cannot be read are skipped; NonText if none of several can, or too many need to be repaired.
    """
    read = DIALECTS[dialect].response_text
    if read is None:
        raise NonText
    places: dict[str, list[str]] = {}
    repairs = 0
    unreadable = 0
    is_read = False
    left = _MAX_PIECES
    for event in events:
        if event == sse.DONE:
            continue
        try:
            document = _any.decode(event)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            repairs += 1
            if repairs > _MAX_REPAIRS:
                raise NonText from None
            document = lenient_json.decode(event, _any)
        if not isinstance(document, dict):
            unreadable += 1
            continue
        is_read = True
        for place, text in islice(read(document), left):
            left -= 1
            places.setdefault(place, []).append(text)
        if not left:
            raise NonText
    if unreadable > 1 and not is_read:  # one alone may be what was cut off
        raise NonText
    texts = ["".join(pieces) for pieces in places.values()]
    return [text for text in texts if text], sum(place.startswith(CALL) for place in places)
