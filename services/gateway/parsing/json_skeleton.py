"""Bounded copy of a large JSON text, without long strings and number arrays."""

import re

MAX_SKELETON = 8 << 20  # bytes kept of one text
MAX_MARKS = 250_000  # quotes and backslashes outside of long strings: some 8 ms of work
_LONG = 1024  # bytes beyond which a string is dropped; no field that bears on money is longer
_TAIL = 16 << 10
_BLOCK = 128 << 10  # bytes taken at a time
_WINDOW = 2 << 10  # bytes in which the end of a long string is searched at first
MAX_WHOLE = 4 << 20  # bytes of a request's body that is decoded as it is; of a larger one the skeleton is
MAX_REQUEST_SKELETON = 2 << 20  # bytes of that skeleton: with its marks some 15 ms of work
MAX_REQUEST_MARKS = 200_000
# Of a text that is read at once: bytes kept, quotes and backslashes outside of long strings.
_MAX_REDUCED = 512 << 10
_MOST_MARKS = 100_000
# Short strings and the text behind each, in one match: the loop below runs once a long string, not once a string.
_SHORT = re.compile(
    rb'(?:"(?:[^"\\]{0,%d}+|(?:[^"\\]{0,255}+\\.){1,16}+[^"\\]{0,255}+)"[^"]{0,%d}+)*+' % (_LONG, _LONG), re.DOTALL
)
_STRUCTURE = (b'"', b"[", b"]", b"{", b"}")
_OF_NUMBERS = b"+-.0123456789Ee"


class Skeleton:
    """Reads a JSON text in blocks of any size.

    `full`: even the skeleton exceeded its limit, so its end is missing.

    Long strings cost little more than copying, whatever is escaped in them: only the marks of other text are counted.
    """

    def __init__(self, *, limit: int = MAX_SKELETON, max_marks: int = MAX_MARKS, drops_numbers: bool = True) -> None:
        self._drops_numbers = drops_numbers
        self.full = False
        self.tail = b""  # the last bytes, where `full`
        self._limit, self._max_marks = limit, max_marks
        self._size = 0
        self._marks = 0
        self._parts: list[bytes] = []
        self._rest = b""  # an unfinished string or number
        self._skipping = False  # within a string that is dropped

    def feed(self, data: bytes) -> None:
        """Read the next block.

        Of a text whose skeleton is full only the last bytes are kept, unread.
        """
        for start in range(0, len(data), _BLOCK):
            if self.full:
                self.tail = (self.tail + data[max(start, len(data) - _TAIL) :])[-_TAIL:]
                return
            self._take_block(data[start : start + _BLOCK])

    def stop(self) -> None:
        """Keep no more than the last bytes of what follows: the text takes too much work."""
        self.full = True
        self.tail = self._rest[-_TAIL:]
        self._rest = b""

    def _take_block(self, data: bytes) -> None:
        if self._rest:
            data, self._rest = self._rest + data, b""
        position = 0
        while position < len(data) and not self._is_spent():
            position = self._skip(data, position) if self._skipping else self._take(data, position)
        if self._is_spent():
            self.full = True
            self.tail = data[-_TAIL:]
            self._rest = b""

    def _is_spent(self) -> bool:
        return self._size > self._limit or self._marks > self._max_marks

    def json(self) -> bytes:
        """The skeleton: valid JSON if the text is, has ended and stayed within the limit."""
        if not self._skipping:
            self._keep(self._rest)
            self._rest = b""
        return b"".join(self._parts)

    def _take(self, data: bytes, position: int) -> int:
        """Keep the text up to the next long or unfinished string, and begin to drop that or hold it back."""
        first = data.find(b'"', position)  # a search for one byte is much faster than a match
        match = _SHORT.match(data, first) if first >= 0 else None
        short = match.end() if match else len(data)
        start = data.find(b'"', short)
        end = len(data) if start < 0 else start + 1
        for mark in (b'"', b"\\"):
            if data.find(mark, position, end) >= 0:  # ten times as fast as a count
                self._marks += data.count(mark, position, end)
        if start < 0:
            self._take_gap(data[position:])
            return len(data)
        self._keep(data[position:start])
        if start > short:  # only the text before it was too long for the match
            return start
        if len(data) - start <= _LONG and _end_of_string(data, start + 1) is None:
            self._rest = data[start:]
            return len(data)
        self._keep(b'"')
        self._skipping = True
        return start + 1

    def _take_gap(self, text: bytes) -> None:
        """Keep text outside strings, but for a number at its end: the next block may go on with it."""
        kept = text.rstrip(_OF_NUMBERS)
        if len(text) - len(kept) > _LONG:
            kept = text
        self._keep(kept)
        self._rest = text[len(kept) :]

    def _skip(self, data: bytes, position: int) -> int:
        """Drop text up to the end of the string; a backslash that ends the block is held back."""
        end = _end_of_string(data, position)
        if end is None:
            self._rest = b"\\" if _ends_in_escape(data, position) else b""
            return len(data)
        self._keep(b'"')
        self._skipping = False
        return end + 1

    def _keep(self, text: bytes) -> None:
        if len(text) > _LONG and self._drops_numbers:
            text = _without_numbers(text)
        self._size += len(text)
        if self._size <= self._limit:
            self._parts.append(text)
        else:
            self.full = True
            self.tail = (self.tail + text[-_TAIL:])[-_TAIL:]


def reduced(
    text: bytes, *, limit: int = _MAX_REDUCED, max_marks: int = _MOST_MARKS, drops_numbers: bool = True
) -> bytes | None:
    """The skeleton of a whole text; None when it would be large or take long to build."""
    skeleton = Skeleton(limit=limit, max_marks=max_marks, drops_numbers=drops_numbers)
    skeleton.feed(text)
    found = skeleton.json()
    return None if skeleton.full else found


def of_request(body: bytes, *, drops_numbers: bool = True) -> bytes | None:
    """What is read of a request's body: all of it, or of a large one its skeleton.

    None if the skeleton is large, too.
    """
    if len(body) <= MAX_WHOLE:
        return body
    return reduced(body, limit=MAX_REQUEST_SKELETON, max_marks=MAX_REQUEST_MARKS, drops_numbers=drops_numbers)


def _without_numbers(text: bytes) -> bytes:
    """The text with only the first and the last element of each long list without strings, lists or objects."""
    kept: list[bytes] = []
    copied = position = 0
    while position < len(text) - _LONG:
        last = max(text.rfind(mark, position, position + _LONG) for mark in _STRUCTURE)
        if last >= 0:
            position = last + 1
            continue
        end = len(text)
        for mark in _STRUCTURE:
            found = text.find(mark, position + _LONG, end)
            end = end if found < 0 else found
        first = text.find(b",", position, end) + 1
        if first:
            kept.append(text[copied:first])
            copied = text.rfind(b",", position, end) + 1
        position = end
    kept.append(text[copied:])
    return b"".join(kept)


def _end_of_string(data: bytes, position: int) -> int | None:
    """Where the quote stands that ends the string around `position`; None when it is not in `data`."""
    end = data.find(b'"', position)
    if data.find(b"\\", position, len(data) if end < 0 else end) < 0:
        return None if end < 0 else end
    size = _WINDOW
    while position < len(data):
        window = data[position : position + size]
        if _ends_in_escape(window, 0) and position + size < len(data):
            window = window[:-1]  # what is escaped stands in the next one
        end = window.replace(b"\\\\", b"  ").replace(b'\\"', b"  ").find(b'"')
        if end >= 0:
            return position + end
        position += len(window)
        size = min(2 * size, _BLOCK)
    return None


def _ends_in_escape(data: bytes, position: int) -> bool:
    kept = data[position:].rstrip(b"\\")
    return (len(data) - position - len(kept)) % 2 == 1
