"""HTTP request parser that tolerates harmless repeated fields and upgrade offers."""

import re
from collections.abc import Callable
from typing import Any

from aiohttp import hdrs
from aiohttp.http import HttpRequestParser
from aiohttp.http_exceptions import BadHttpMessage, HttpProcessingError, LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestPayloadError

# Fields that must not be repeated and that some clients send twice. Host, Content-Length and Transfer-Encoding are not
# among them: servers that use different ones of two disagree where a request ends or goes (request smuggling).
_MERGEABLE = frozenset(
    {b"content-location", b"content-range", b"content-type", b"etag", b"max-forwards", b"server", b"user-agent"}
)
_CONNECTION = re.compile(rb"(\r\nconnection:)([^\r\n]*)", re.IGNORECASE)
_UPGRADE = re.compile(rb"(?<![^\s,])upgrade(?![^\s,])", re.IGNORECASE)
_END = b"\r\n\r\n"
_MAX_HEAD = 64 << 10  # bytes of an incomplete head that are kept to be parsed again
_MAX_HEAD_READ = 256 << 10  # bytes of an incomplete head beyond which it is refused

Parsed = tuple[Any, bool, bytes]  # (messages, upgraded, bytes that follow an upgrade)


class TolerantParser:
    """aiohttp's C parser with a second attempt for repeated fields and upgrade offers.

    The C parser stops for good at the first repeated field, and drops what follows a request with an unknown Upgrade,
    such as h2c. The bytes since the end of the last request are then parsed again by a new parser, from normalized
    heads. `_held` keeps them: the bytes of an incomplete head, b"" between requests, None if the end of the last
    request is unknown (a chunked body with something behind it), in which case there is no second attempt.
    """

    __slots__ = (
        "_chunked",
        "_head_size",
        "_held",
        "_left",
        "_make",
        "_parser",
        "_waiting",
        "last_payload",
        "message_consumed",
        "pause_reading",
        "set_upgraded",
    )

    def __init__(self, make: Callable[[], HttpRequestParser]) -> None:
        self._make = make
        self._held: bytes | None = b""
        self._left = 0  # bytes missing from the current request's body
        self._chunked: Any = None  # payload of the current chunked body
        self._waiting = b""  # an incomplete head, held back until it is complete
        self._head_size = 0  # bytes of an incomplete head that the parser has been given
        self.last_payload: Any = EMPTY_PAYLOAD  # the body of the last request that has begun
        self._replace()

    @property
    def in_head(self) -> bool:
        """Whether a request has begun whose headers are incomplete."""
        return bool(self._held or self._waiting)

    def feed_data(self, data: bytes) -> Parsed:
        """Parse bytes as they arrive; HttpProcessingError for an invalid request."""
        if self._waiting:
            data = self._waiting + data
            self._waiting = b""
            return self._parse_again(data)
        in_body = not self.last_payload.is_eof()
        try:
            parsed: Parsed = self._parser.feed_data(data)
        except HttpProcessingError as error:
            if self._held is None or self._chunked is not None or not is_repeat(error):
                self._break_off(error)
                raise
            return self._parse_again(self._held + self._after_body(data))
        messages = parsed[0]
        if messages and not parsed[1] and messages[-1][0].upgrade:
            if self._held is not None and self._chunked is None:
                return self._parse_again(self._held + self._after_body(data))
            _close_after(messages)
        if len(messages) == 1 and not self._left and self._held == b"" and self._chunked is None:
            # The usual case: exactly one complete request.
            payload = self.last_payload = messages[0][1]
            size = 0 if payload is EMPTY_PAYLOAD else payload.total_bytes
            if data.find(_END) + len(_END) + size == len(data) and payload.is_eof():
                return parsed
        if data or messages:
            self._follow(messages, data)
        self._bound_head(0 if messages or in_body else len(data))
        return parsed

    def _bound_head(self, size: int) -> None:
        """Count the bytes of an incomplete head; the parser itself limits its lines and their number only."""
        self._head_size = self._head_size + size if size else 0
        if self._head_size > _MAX_HEAD_READ:
            error = LineTooLong(b"", _MAX_HEAD_READ)
            self._break_off(error)
            raise error

    def _parse_again(self, data: bytes) -> Parsed:
        try:
            return self._parse_merged(data)
        except HttpProcessingError as error:
            self._break_off(error)
            raise

    def _break_off(self, error: HttpProcessingError) -> None:
        """Fail the body being read: the rest of it will never come."""
        if not self.last_payload.is_eof() and self.last_payload.exception() is None:
            self.last_payload.set_exception(RequestPayloadError(error.message))
            self.last_payload.feed_eof()  # else aiohttp would wait for more of it after the response

    def feed_eof(self) -> None:
        """Handle the end of the client's sending."""
        self._parser.feed_eof()

    def close(self) -> None:
        """Drop the parser, which refers to its connection: leaves no reference cycle."""
        self.last_payload = EMPTY_PAYLOAD
        self._chunked = None
        del self._make, self._parser, self.message_consumed, self.pause_reading, self.set_upgraded

    def _replace(self) -> None:
        self._parser = self._make()
        self.message_consumed = self._parser.message_consumed
        self.pause_reading = self._parser.pause_reading
        self.set_upgraded = self._parser.set_upgraded

    def _after_body(self, data: bytes) -> bytes:
        """The part of `data` behind the current body."""
        data = data[self._left :]
        self._left = 0
        return data

    def _follow(self, messages: Any, data: bytes) -> None:
        """Keep track of where the last request ends."""
        if messages:
            self.last_payload = messages[-1][1]
        if self._left:
            if len(data) <= self._left:
                self._left -= len(data)
                return
            data = self._after_body(data)
        elif self._chunked is not None:
            if self._chunked.is_eof():
                self._chunked = None
                self._held = b"" if data.endswith(b"0\r\n\r\n") and not messages else None
            return
        if self._held is None:
            return
        whole = self._held + data if self._held else data
        if messages:
            self._held = self._after_messages(messages, whole)
        else:
            self._held = whole if len(whole) <= _MAX_HEAD else None

    def _after_messages(self, messages: Any, data: bytes) -> bytes | None:
        """The bytes behind these messages, out of those they were parsed from."""
        at = 0
        for message, payload in messages:
            at = data.find(_END, at) + len(_END)
            if at < len(_END) or message.upgrade:
                return None
            if message.chunked:
                if not payload.is_eof():
                    self._chunked = payload
                    return b""
                return b"" if message is messages[-1][0] and data.endswith(b"0\r\n\r\n") else None
            at += int(message.headers.get(hdrs.CONTENT_LENGTH, 0))
        self._left = max(0, at - len(data))
        return data[at:]

    def _parse_merged(self, data: bytes) -> Parsed:
        """Parse complete, normalized heads; hold an incomplete one back."""
        self._replace()
        self._held = b""
        self._chunked = None
        messages: list[Any] = []
        while data:
            head, end, rest = data.partition(_END)
            if not end:
                if len(data) > _MAX_HEAD:
                    raise LineTooLong(data[:100] + b"...", _MAX_HEAD)
                self._waiting = data
                break
            parsed, upgraded, tail = self._parser.feed_data(without_upgrade(merge_repeats(head)) + end)
            messages += parsed
            if parsed:
                self.last_payload = parsed[-1][1]
            if upgraded:
                return messages, True, tail + rest
            if not parsed or parsed[0][0].chunked:
                more, upgraded, tail = self._parser.feed_data(rest)
                self._held = None
                if more and not upgraded and more[-1][0].upgrade:
                    more = list(more)
                    _close_after(more)
                if parsed and not more:
                    self._chunked = parsed[0][1]
                    self._held = b""
                    self._follow((), rest)
                return messages + list(more), upgraded, tail
            length = int(parsed[0][0].headers.get(hdrs.CONTENT_LENGTH, 0))
            body = rest[:length]
            data = rest[length:]
            self._left = length - len(body)
            self._parser.feed_data(body)
        return messages, False, b""


def merge_repeats(head: bytes) -> bytes:
    """Merge harmless repeated fields in a request's head, unless it has unusual lines.

    The first value counts. A second User-Agent is appended to the first: it names a further product.
    """
    start, *lines = head.split(b"\r\n")
    if any(b"\n" in line or b"\r" in line or line.startswith((b" ", b"\t")) for line in lines):
        return head
    merged = [start]
    places: dict[bytes, int] = {}
    for line in lines:
        name, _, value = line.partition(b":")
        key = name.lower()
        if key not in _MERGEABLE or key not in places:
            places[key] = len(merged)
            merged.append(line)
        elif key == b"user-agent" and value.strip() not in merged[places[key]]:
            merged[places[key]] = merged[places[key]].rstrip() + b" " + value.strip()
    return b"\r\n".join(merged)


def without_upgrade(head: bytes) -> bytes:
    """Remove upgrade offers from a head's Connection fields: none is ever accepted."""
    return _CONNECTION.sub(lambda line: line[1] + _UPGRADE.sub(b"", line[2]), head)


def _close_after(messages: list[Any]) -> None:
    """End the connection after the last of these requests: what the client sent behind it is not read."""
    message, payload = messages[-1]
    messages[-1] = (message._replace(should_close=True), payload)


def is_repeat(error: BaseException) -> bool:
    """Whether the parser refused a field because it was repeated."""
    return isinstance(error, BadHttpMessage) and error.message.startswith("Duplicate ")
